-- Promotions: automatic ones, and coupons with their codes; what was redeemed of them, and the discounts of orders.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table promotion (
    tenant_id uuid not null,
    id uuid not null,
    title text not null check (length(title) between 1 and 255),
    description text not null default '',
    -- Applies only in carts that have one of its codes.
    is_coupon boolean not null,
    type text not null check (type in
        ('percentage', 'fixed_amount', 'free_shipping', 'buy_x_get_y', 'bundle', 'gift')),
    currency currency_code not null, -- of its amounts
    is_active boolean not null,
    starts_at timestamptz,
    expires_at timestamptz,
    priority int not null,
    usage_limit bigint check (usage_limit > 0),
    usage_limit_per_customer bigint check (usage_limit_per_customer > 0),
    usage_limit_per_day bigint check (usage_limit_per_day > 0),
    -- Everything else, as commerce.promotions.schema.Rules has it.
    rules jsonb not null check (jsonb_typeof(rules) = 'object'),
    version int not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    check (starts_at < expires_at)
);
create index promotion_created on promotion (tenant_id, is_coupon, created_at, id);

-- A code as it is compared: trimmed, in one case. `shown` is how it was written.
create table coupon_code (
    tenant_id uuid not null,
    code text not null check (length(code) between 1 and 255),
    shown text not null check (length(shown) between 1 and 255),
    promotion_id uuid not null,
    usage_limit bigint check (usage_limit > 0),
    created_at timestamptz not null default now(),
    primary key (tenant_id, code),
    foreign key (tenant_id, promotion_id) references promotion (tenant_id, id) on delete cascade
);
create index coupon_code_promotion on coupon_code (tenant_id, promotion_id, created_at, code);

-- How often a limited promotion was used: in all (key ''), on a day of the shop ('day 2026-11-27'), by a code ('code x').
create table promotion_use (
    tenant_id uuid not null,
    promotion_id uuid not null,
    key text not null,
    used bigint not null check (used >= 0),
    primary key (tenant_id, promotion_id, key)
);

-- What an order has used. It is given back (`released_at`) when the order is cancelled or never paid.
create table redemption (
    tenant_id uuid not null,
    promotion_id uuid not null,
    order_id uuid not null,
    code text,
    customer_id uuid,
    email text not null,
    amount numeric not null,
    currency currency_code not null,
    keys text[] not null, -- of promotion_use
    redeemed_at timestamptz not null default now(),
    released_at timestamptz,
    primary key (tenant_id, promotion_id, order_id),
    foreign key (tenant_id, order_id) references sales_order (tenant_id, id) on delete cascade,
    check (is_amount(amount, currency))
);
create index redemption_order on redemption (tenant_id, order_id);
create index redemption_customer on redemption (tenant_id, promotion_id, customer_id)
    where released_at is null;
create index redemption_email on redemption (tenant_id, promotion_id, email)
    where released_at is null;

-- The codes in a cart. A coupon that was deleted stays, and says so: nothing leaves a cart by itself.
create table cart_coupon (
    tenant_id uuid not null,
    cart_id uuid not null,
    code text not null,
    shown text not null,
    added_at timestamptz not null default now(),
    primary key (tenant_id, cart_id, code),
    foreign key (tenant_id, cart_id) references cart (tenant_id, id) on delete cascade
);

-- The discount that the buyer was last shown in the cart, before a checkout; null: none.
alter table cart add column seen_discount numeric;

-- Of each discount: promotion_id, code, title, amount, and for an order its lines and shipping.
alter table sales_order
    add column discounts jsonb not null default '[]',
    add column shipping_discount numeric;
alter table order_item
    add column discount_amount numeric,
    add column discounts jsonb not null default '[]',
    add column is_gift boolean not null default false;
alter table order_item add constraint order_item_discount_check
    check (discount_amount between 0 and total) not valid;

create function invalidate_promotions() returns trigger
    language plpgsql
    as $$
    begin
        perform invalidate(coalesce(new.tenant_id, old.tenant_id), array['promotions']);
        return null;
    end
    $$;
create trigger invalidate after insert or update or delete on promotion
    for each row execute function invalidate_promotions();

create function emit_coupon_events() returns trigger
    language plpgsql
    as $$
    declare
        its promotion := coalesce(new, old);
        word text := case tg_op when 'INSERT' then 'created' when 'UPDATE' then 'updated'
                     else 'deleted' end;
    begin
        if its.is_coupon and is_listened_to(its.tenant_id) then
            perform emit_event(its.tenant_id, 'coupon.' || word, 'coupon:' || its.id,
                jsonb_build_object('id', its.id, 'title', its.title, 'type', its.type,
                                   'is_active', its.is_active));
        end if;
        return null;
    end
    $$;
create trigger emit_events after insert or update or delete on promotion
    for each row execute function emit_coupon_events();

create function emit_cart_coupon_events() returns trigger
    language plpgsql
    as $$
    declare
        its cart_coupon := coalesce(new, old);
        word text := case tg_op when 'INSERT' then 'applied' else 'removed' end;
    begin
        if is_listened_to(its.tenant_id) then
            perform emit_event(its.tenant_id, 'coupon.' || word, 'cart:' || its.cart_id,
                jsonb_build_object('cart_id', its.cart_id, 'code', its.shown));
        end if;
        return null;
    end
    $$;
create trigger emit_events after insert or delete on cart_coupon
    for each row execute function emit_cart_coupon_events();
