-- Gift cards that are bought as a product.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table order_item add column is_gift_card boolean not null default false;
alter table sales_order add column sells_gift_cards boolean not null default false;

-- Each card of an item: it is made once, and mailed until that has worked.
create table sold_gift_card (
    tenant_id uuid not null,
    order_item_id uuid not null,
    number int not null check (number > 0),
    order_id uuid not null,
    account_id uuid not null,
    email text not null,
    claimed_at timestamptz,
    mailed_at timestamptz,
    primary key (tenant_id, order_item_id, number),
    foreign key (tenant_id, order_id) references sales_order (tenant_id, id) on delete cascade,
    foreign key (tenant_id, account_id) references credit_account (tenant_id, id)
);
create index sold_gift_card_order on sold_gift_card (tenant_id, order_id);
create index sold_gift_card_account on sold_gift_card (tenant_id, account_id);
create index sold_gift_card_unmailed on sold_gift_card (tenant_id, claimed_at)
    where mailed_at is null;
