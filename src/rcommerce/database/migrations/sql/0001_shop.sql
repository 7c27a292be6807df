-- The shop. Every table but `tenant` and `api_key` belongs to a tenant, and leads its primary key, foreign keys
-- and indexes with tenant_id: isolation, and online moves of one tenant, rest on that one rule.
--
-- Money is numeric with exactly the digits of its currency (a constraint on the scale), so the
-- text of a column is the text in the JSON.

create extension if not exists pg_trgm;
create extension if not exists btree_gin;

-- ISO 4217 minor units; rcommerce.money says the same and a test compares them.
create function currency_digits(currency text) returns int
    language sql immutable parallel safe
    return case
        when currency in ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF',
                          'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') then 0
        when currency in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then 3
        when currency in ('CLF', 'UYW') then 4
        else 2
    end;

-- An amount that may stand in a row of this currency: never negative, exactly its digits.
create function is_amount(amount numeric, currency text) returns boolean
    language sql immutable parallel safe
    return amount >= 0 and amount < 1e15 and scale(amount) = currency_digits(currency);

-- RFC 3339 in UTC, whatever the session's time zone.
create function rfc3339(moment timestamptz) returns text
    language sql stable parallel safe
    return to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- A UUIDv7 (RFC 9562), as rcommerce.ids makes them; PostgreSQL has its own only from 18.
create function new_id() returns uuid
    language sql volatile parallel safe
    return encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint)
                                      from 3)
                    from 1 for 6),
            52, 1), 53, 1), 'hex')::uuid;

create domain currency_code as text check (value ~ '^[A-Z]{3}$');
create domain slug as text check (value ~ '^[^\s/?#%]{1,255}$');

-- Tenants and their keys ------------------------------------------------------------------------------------

create table tenant (
    id uuid primary key,
    slug slug not null unique,
    name text not null check (length(name) between 1 and 255),
    currency currency_code not null,
    status text not null default 'active' check (status in ('active', 'suspended')),
    is_default boolean not null default false,
    hosts text[] not null default '{}',
    created_at timestamptz not null default now()
);
create unique index tenant_default on tenant (is_default) where is_default;
create index tenant_hosts on tenant using gin (hosts);

-- A key names its tenant, so it is looked up before the tenant is known.
create table api_key (
    prefix text primary key,
    tenant_id uuid not null references tenant (id),
    secret_hash bytea not null,
    name text not null default '',
    scopes text[] not null,
    revoked_at timestamptz,
    created_at timestamptz not null default now()
);
create index api_key_tenant on api_key (tenant_id, created_at);

-- Catalogue ----------------------------------------------------------------------------------

create table category (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    parent_id uuid,
    name text not null check (length(name) between 1 and 255),
    slug slug not null,
    description text not null default '',
    position int not null default 0,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, slug),
    foreign key (tenant_id, parent_id) references category (tenant_id, id),
    check (parent_id <> id)
);
create index category_parent on category (tenant_id, parent_id);

create table collection (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    title text not null check (length(title) between 1 and 255),
    slug slug not null,
    description text not null default '',
    is_active boolean not null default true,
    position int not null default 0,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, slug)
);

create table product (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    title text not null check (length(title) between 1 and 255),
    slug slug not null,
    description text not null default '',
    short_description text not null default '',
    product_type text not null default '',
    vendor text not null default '',
    tags text[] not null default '{}',
    status text not null default 'draft' check (status in ('draft', 'active', 'archived')),
    is_featured boolean not null default false,
    currency currency_code not null,
    -- The lowest of its variants': lists filter and sort by it. Kept by every write of a variant.
    price numeric not null,
    compare_at_price numeric,
    requires_shipping boolean not null default true,
    weight numeric check (weight >= 0 and weight < 1e9),
    weight_unit text not null default 'kg' check (weight_unit in ('g', 'kg', 'oz', 'lb')),
    seo_title text not null default '',
    seo_description text not null default '',
    meta_fields jsonb not null default '{}' check (jsonb_typeof(meta_fields) = 'object'),
    options jsonb not null default '[]' check (jsonb_typeof(options) = 'array'),
    category_id uuid,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    published_at timestamptz,
    search_text text not null generated always as
        (title || ' ' || vendor || ' ' || product_type) stored,
    search tsvector not null generated always as (
        setweight(to_tsvector('simple', title), 'A')
        || setweight(to_tsvector('simple', vendor || ' ' || product_type), 'B')
        || setweight(to_tsvector('simple', left(description, 20000)), 'C')
    ) stored,
    primary key (tenant_id, id),
    unique (tenant_id, slug),
    unique (tenant_id, id, currency),
    foreign key (tenant_id, category_id) references category (tenant_id, id)
        on delete set null (category_id),
    check (is_amount(price, currency)),
    check (is_amount(compare_at_price, currency))
);
create index product_by_created on product (tenant_id, status, created_at, id);
create index product_by_updated on product (tenant_id, status, updated_at, id);
create index product_by_price on product (tenant_id, status, price, id);
create index product_by_title on product (tenant_id, status, title, id);
create index product_by_category on product (tenant_id, category_id, created_at, id);
create index product_by_type on product (tenant_id, product_type, created_at, id);
create index product_by_vendor on product (tenant_id, vendor, created_at, id);
create index product_featured on product (tenant_id, created_at, id) where is_featured;
create index product_tags on product using gin (tenant_id, tags);
create index product_search on product using gin (tenant_id, search);
create index product_trigrams on product using gin (tenant_id, search_text gin_trgm_ops);

-- The products that a search means: those with its words; where there are none, those whose text
-- is alike, which forgives a typo. The threshold is the function's own, so no session has to be set.
create function product_matches(tenant uuid, words text) returns setof uuid
    language sql stable parallel safe
    set pg_trgm.word_similarity_threshold = 0.3
    as $$
        with exact as materialized (
            select id from product
             where tenant_id = tenant and search @@ websearch_to_tsquery('simple', words)
             limit 10000
        ), alike as (
            select id from product
             where tenant_id = tenant and search_text %> words and not exists (select from exact)
             order by word_similarity(words, search_text) desc
             limit 1000
        )
        select id from exact union all select id from alike
    $$;

create table variant (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    product_id uuid not null,
    title text not null default 'Default' check (length(title) between 1 and 800),
    sku text check (length(sku) between 1 and 255),
    barcode text check (length(barcode) between 1 and 255),
    currency currency_code not null,
    price numeric not null,
    compare_at_price numeric,
    cost_price numeric,
    option_values jsonb not null default '{}' check (jsonb_typeof(option_values) = 'object'),
    tracks_inventory boolean not null default true,
    inventory_policy text not null default 'deny' check (inventory_policy in ('deny', 'continue')),
    position int not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, product_id, option_values),
    foreign key (tenant_id, product_id, currency)
        references product (tenant_id, id, currency) on update cascade on delete cascade,
    check (is_amount(price, currency)),
    check (is_amount(compare_at_price, currency)),
    check (is_amount(cost_price, currency))
);
create unique index variant_sku on variant (tenant_id, sku) where sku is not null;
create index variant_product on variant (tenant_id, product_id, position);

create table product_image (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    product_id uuid not null,
    src text not null check (length(src) between 1 and 2048),
    alt_text text not null default '',
    width int check (width > 0),
    height int check (height > 0),
    position int not null default 1,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, product_id) references product (tenant_id, id) on delete cascade
);
create index product_image_product on product_image (tenant_id, product_id, position);

create table collection_product (
    tenant_id uuid not null references tenant (id),
    collection_id uuid not null,
    product_id uuid not null,
    position int not null default 0,
    primary key (tenant_id, collection_id, product_id),
    foreign key (tenant_id, collection_id) references collection (tenant_id, id) on delete cascade,
    foreign key (tenant_id, product_id) references product (tenant_id, id) on delete cascade
);
create index collection_product_product on collection_product (tenant_id, product_id);

-- Inventory ----------------------------------------------------------------------------------

create table location (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    name text not null check (length(name) between 1 and 255),
    is_default boolean not null default false,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, name)
);
create unique index location_default on location (tenant_id) where is_default;

create table inventory_level (
    tenant_id uuid not null references tenant (id),
    variant_id uuid not null,
    location_id uuid not null,
    on_hand bigint not null default 0 check (on_hand >= 0 and on_hand <= 1000000000),
    reserved bigint not null default 0 check (reserved >= 0),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, variant_id, location_id),
    foreign key (tenant_id, variant_id) references variant (tenant_id, id) on delete cascade,
    foreign key (tenant_id, location_id) references location (tenant_id, id),
    check (reserved <= on_hand)
) with (fillfactor = 80);
create index inventory_level_location on inventory_level (tenant_id, location_id, variant_id);

-- What happened to stock, and why: the sums of its columns are the level.
create table inventory_movement (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    variant_id uuid not null,
    location_id uuid not null,
    kind text not null check (kind in
        ('adjust', 'set', 'receive', 'reserve', 'release', 'sell', 'return', 'transfer')),
    on_hand_change bigint not null default 0,
    reserved_change bigint not null default 0,
    reason text not null default '',
    order_id uuid,
    actor text not null default '',
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    check (on_hand_change <> 0 or reserved_change <> 0)
);
create index inventory_movement_variant on inventory_movement (tenant_id, variant_id, id);

create table reservation (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    variant_id uuid not null,
    location_id uuid not null,
    quantity bigint not null check (quantity > 0),
    order_id uuid, -- null for a reservation made by hand
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, variant_id, location_id)
        references inventory_level (tenant_id, variant_id, location_id) on delete cascade
);
create index reservation_order on reservation (tenant_id, order_id);
create index reservation_expiry on reservation (tenant_id, expires_at);
create index reservation_level on reservation (tenant_id, variant_id, location_id);

-- Customers and staff ------------------------------------------------------------------

create table customer (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    email text not null check (email = lower(email) and length(email) between 3 and 254),
    password_hash text not null,
    first_name text not null default '',
    last_name text not null default '',
    phone text,
    accepts_marketing boolean not null default false,
    currency currency_code not null,
    role text not null default 'customer' check (role in ('customer', 'staff')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, email)
);

create table customer_address (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    customer_id uuid not null,
    address jsonb not null check (jsonb_typeof(address) = 'object'),
    is_default boolean not null default false,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, customer_id) references customer (tenant_id, id) on delete cascade
);
create index customer_address_customer on customer_address (tenant_id, customer_id, id);

-- A refresh token works once; all that descend from one login are a family, revoked together.
create table refresh_token (
    tenant_id uuid not null references tenant (id),
    token_hash bytea not null,
    family_id uuid not null,
    customer_id uuid not null,
    used_at timestamptz,
    revoked_at timestamptz,
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, token_hash),
    foreign key (tenant_id, customer_id) references customer (tenant_id, id) on delete cascade
);
create index refresh_token_family on refresh_token (tenant_id, family_id);
create index refresh_token_customer on refresh_token (tenant_id, customer_id);

create table password_reset (
    tenant_id uuid not null references tenant (id),
    token_hash bytea not null,
    customer_id uuid not null,
    used_at timestamptz,
    expires_at timestamptz not null,
    primary key (tenant_id, token_hash),
    foreign key (tenant_id, customer_id) references customer (tenant_id, id) on delete cascade
);
create index password_reset_customer on password_reset (tenant_id, customer_id);

-- Carts --------------------------------------------------------------------------------------

create table cart (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    token_hash bytea, -- of a guest's cart
    customer_id uuid,
    currency currency_code not null,
    email text,
    coupon_code text,
    shipping_address jsonb,
    billing_address jsonb,
    shipping_service text,
    status text not null default 'active' check (status in ('active', 'ordered', 'merged')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, customer_id) references customer (tenant_id, id) on delete cascade,
    check (token_hash is not null or customer_id is not null)
);
create unique index cart_of_customer on cart (tenant_id, customer_id) where status = 'active';
create unique index cart_token on cart (tenant_id, token_hash);
create index cart_expiry on cart (tenant_id, expires_at) where status = 'active';

create table cart_item (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    cart_id uuid not null,
    product_id uuid not null,
    variant_id uuid not null,
    quantity int not null check (quantity between 1 and 9999),
    -- What the buyer last saw; checkout compares it with the catalogue.
    unit_price numeric not null check (unit_price >= 0),
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, cart_id, variant_id),
    foreign key (tenant_id, cart_id) references cart (tenant_id, id) on delete cascade,
    foreign key (tenant_id, variant_id) references variant (tenant_id, id) on delete cascade
);
create index cart_item_variant on cart_item (tenant_id, variant_id);

-- Orders -------------------------------------------------------------------------------------

create table sales_order (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    order_number text not null,
    cart_id uuid,
    customer_id uuid,
    customer_email text not null,
    status text not null check (status in
        ('pending', 'confirmed', 'processing', 'on_hold', 'completed', 'cancelled')),
    payment_status text not null check (payment_status in
        ('pending', 'authorized', 'paid', 'partially_refunded', 'refunded', 'failed',
         'cancelled')),
    fulfillment_status text not null default 'unfulfilled' check (fulfillment_status in
        ('unfulfilled', 'partially_fulfilled', 'fulfilled', 'shipped', 'delivered', 'returned')),
    currency currency_code not null,
    subtotal numeric not null,
    discount_total numeric not null,
    tax_total numeric not null,
    shipping_total numeric not null,
    total numeric not null,
    shipping_address jsonb not null,
    billing_address jsonb not null,
    shipping_service text,
    notes text not null default '',
    metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    -- Until when its stock is held for a payment that has not come yet.
    reserved_until timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, order_number),
    check (is_amount(subtotal, currency)),
    check (is_amount(discount_total, currency) and discount_total <= subtotal),
    check (is_amount(tax_total, currency)),
    check (is_amount(shipping_total, currency)),
    check (is_amount(total, currency)),
    check (total = subtotal - discount_total + tax_total + shipping_total)
);
-- A cart becomes one order: another is possible only once that one is cancelled.
create unique index sales_order_cart on sales_order (tenant_id, cart_id)
    where status <> 'cancelled';
create index sales_order_created on sales_order (tenant_id, created_at, id);
create index sales_order_customer on sales_order (tenant_id, customer_id, created_at, id);
create index sales_order_status on sales_order (tenant_id, status, created_at, id);
create index sales_order_due on sales_order (tenant_id, reserved_until)
    where reserved_until is not null;

create table order_item (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    order_id uuid not null,
    position int not null,
    product_id uuid not null, -- kept when the product is gone
    variant_id uuid not null,
    sku text,
    title text not null,
    variant_title text not null default '',
    quantity int not null check (quantity > 0),
    fulfilled_quantity int not null default 0
        check (fulfilled_quantity between 0 and quantity),
    returned_quantity int not null default 0
        check (returned_quantity between 0 and fulfilled_quantity),
    price numeric not null check (price >= 0),
    total numeric not null check (total = price * quantity),
    tax_amount numeric not null check (tax_amount >= 0),
    requires_shipping boolean not null default true,
    primary key (tenant_id, id),
    unique (tenant_id, order_id, position),
    foreign key (tenant_id, order_id) references sales_order (tenant_id, id) on delete cascade
);

create table order_event (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    order_id uuid not null,
    type text not null,
    data jsonb not null default '{}',
    actor text not null default '',
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, order_id) references sales_order (tenant_id, id) on delete cascade
);
create index order_event_order on order_event (tenant_id, order_id, id);

-- Payments -----------------------------------------------------------------------------------

create table payment (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    order_id uuid not null,
    gateway_id text not null,
    method_type text not null,
    currency currency_code not null,
    amount numeric not null,
    refunded numeric not null,
    status text not null check (status in
        ('pending', 'requires_action', 'succeeded', 'failed', 'cancelled')),
    gateway_reference text,
    error_message text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, order_id) references sales_order (tenant_id, id) on delete cascade,
    check (is_amount(amount, currency)),
    check (is_amount(refunded, currency) and refunded <= amount)
);
-- An order has one payment that lives: a second charge is impossible, not just unlikely.
create unique index payment_order on payment (tenant_id, order_id)
    where status in ('pending', 'requires_action', 'succeeded');
create index payment_of_order on payment (tenant_id, order_id, id);
-- Those that wait for their gateway: asked for by the sweep.
create index payment_waiting on payment (tenant_id, updated_at)
    where status in ('pending', 'requires_action') and gateway_id <> 'manual';

create table refund (
    tenant_id uuid not null references tenant (id),
    id uuid not null,
    payment_id uuid not null,
    currency currency_code not null,
    amount numeric not null,
    reason text not null default '',
    status text not null check (status in ('pending', 'succeeded', 'failed')),
    gateway_reference text,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, payment_id) references payment (tenant_id, id) on delete cascade,
    check (is_amount(amount, currency) and amount > 0)
);
create index refund_payment on refund (tenant_id, payment_id, id);
create index refund_pending on refund (tenant_id, created_at) where status = 'pending';

-- A gateway's events, each applied once.
create table payment_event (
    tenant_id uuid not null references tenant (id),
    gateway_id text not null,
    event_id text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, gateway_id, event_id)
);

-- The books of the test gateway: what a real one would keep on its own servers. It is written
-- outside the shop's transactions, as a remote party is.
create table test_gateway_charge (
    tenant_id uuid not null references tenant (id),
    idempotency_key text not null,
    amount numeric not null,
    currency currency_code not null,
    outcome text not null check (outcome in ('approved', 'declined', 'delayed')),
    settles_at timestamptz,
    refunded numeric not null default 0,
    created_at timestamptz not null default now(),
    primary key (tenant_id, idempotency_key),
    check (refunded between 0 and amount)
);
create table test_gateway_refund (
    tenant_id uuid not null references tenant (id),
    idempotency_key text not null,
    charge_key text not null,
    amount numeric not null check (amount > 0),
    created_at timestamptz not null default now(),
    primary key (tenant_id, idempotency_key),
    foreign key (tenant_id, charge_key) references test_gateway_charge (tenant_id, idempotency_key)
);
create index test_gateway_refund_charge on test_gateway_refund (tenant_id, charge_key);

-- Idempotency --------------------------------------------------------------------------------

create table idempotency_key (
    tenant_id uuid not null references tenant (id),
    caller text not null,
    key text not null check (length(key) between 1 and 255),
    fingerprint bytea not null,
    -- Null while the request is under way; the answer afterwards.
    status int,
    content_type text,
    body bytea,
    created_at timestamptz not null default now(),
    primary key (tenant_id, caller, key)
);
create index idempotency_key_created on idempotency_key (tenant_id, created_at);

-- The tenant of a single-shop installation, and where its stock lies.
insert into tenant (id, slug, name, currency, is_default)
values ('00000000-0000-7000-8000-000000000001', 'default', 'My shop', 'USD', true);
insert into location (tenant_id, id, name, is_default)
values ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002',
        'Main warehouse', true);
