-- Gift cards and store credit: accounts, and a ledger whose entries are each other's proof.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table credit_account (
    tenant_id uuid not null,
    id uuid not null,
    kind text not null check (kind in ('gift_card', 'store_credit')),
    currency currency_code not null,
    -- Of a gift card's code, which is shown once.
    code_hash bytea,
    last_characters text,
    customer_id uuid,
    recipient_email text,
    note text not null default '',
    is_active boolean not null default true,
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    check ((kind = 'gift_card') = (code_hash is not null)),
    check ((kind = 'store_credit') = (customer_id is not null))
);
create unique index credit_account_code on credit_account (tenant_id, code_hash);
create unique index credit_account_customer on credit_account (tenant_id, customer_id, currency)
    where kind = 'store_credit';
create index credit_account_created on credit_account (tenant_id, kind, created_at, id);

-- An entry begins where the one before it has ended: the balance is the sum of the amounts, and never negative.
create table credit_entry (
    tenant_id uuid not null,
    account_id uuid not null,
    number int not null check (number > 0),
    previous int generated always as (nullif(number - 1, 0)) stored,
    kind text not null check (kind in ('issued', 'redeemed', 'refunded', 'restored', 'adjusted')),
    amount numeric not null check (amount <> 0),
    balance_before numeric not null check (number > 1 or balance_before = 0),
    balance numeric not null check (balance >= 0),
    order_id uuid,
    actor text not null default '',
    note text not null default '',
    created_at timestamptz not null default now(),
    primary key (tenant_id, account_id, number),
    unique (tenant_id, account_id, number, balance),
    check (balance = balance_before + amount),
    foreign key (tenant_id, account_id) references credit_account (tenant_id, id),
    foreign key (tenant_id, account_id, previous, balance_before)
        references credit_entry (tenant_id, account_id, number, balance)
);
create index credit_entry_order on credit_entry (tenant_id, order_id) where order_id is not null;
-- An order takes from an account once, and gives the rest back once.
create unique index credit_entry_once on credit_entry (tenant_id, order_id, account_id, kind)
    where order_id is not null and kind <> 'refunded';

create table cart_credit (
    tenant_id uuid not null,
    cart_id uuid not null,
    account_id uuid not null,
    added_at timestamptz not null default now(),
    primary key (tenant_id, cart_id, account_id),
    foreign key (tenant_id, cart_id) references cart (tenant_id, id) on delete cascade
);

-- Whether coupons or credit have ever been put in: other carts are read without looking for any.
alter table cart add column has_codes boolean not null default false;

-- What they were last shown to pay in the cart, before a checkout; null: nothing.
alter table cart add column seen_credit numeric;

-- What gift cards and credit have paid of an order; null: nothing.
alter table sales_order add column credit_total numeric;
alter table sales_order add constraint sales_order_credit_check
    check (is_amount(credit_total, currency) and credit_total <= total) not valid;
