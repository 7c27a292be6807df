-- Channels, and what things cost in them: price lists, exchange rates, and the prices that lists of products are sorted by.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table channel (
    tenant_id uuid not null,
    id uuid not null,
    slug text not null check (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    name text not null check (length(name) between 1 and 255),
    currency currency_code not null,
    country text check (country ~ '^[A-Z]{2}$'),
    prices_include_tax boolean not null,
    is_active boolean not null,
    -- Sells every product, or only those of channel_product.
    listed text not null check (listed in ('all', 'chosen')),
    version int not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, slug),
    unique (tenant_id, id, currency)
);

-- A product in a channel: chosen, or sold there for a time only.
create table channel_product (
    tenant_id uuid not null,
    channel_id uuid not null,
    product_id uuid not null,
    available_from timestamptz,
    available_until timestamptz,
    primary key (tenant_id, channel_id, product_id),
    foreign key (tenant_id, channel_id) references channel (tenant_id, id) on delete cascade,
    foreign key (tenant_id, product_id) references product (tenant_id, id) on delete cascade,
    check (available_from < available_until)
);
create index channel_product_product on channel_product (tenant_id, product_id);
create index channel_product_from on channel_product (tenant_id, available_from)
    where available_from is not null;
create index channel_product_until on channel_product (tenant_id, available_until)
    where available_until is not null;

-- Where a channel's orders are served from; without any, from everywhere.
create table channel_location (
    tenant_id uuid not null,
    channel_id uuid not null,
    location_id uuid not null,
    primary key (tenant_id, channel_id, location_id),
    foreign key (tenant_id, channel_id) references channel (tenant_id, id) on delete cascade,
    foreign key (tenant_id, location_id) references location (tenant_id, id)
);
create index channel_location_location on channel_location (tenant_id, location_id);

create table customer_group (
    tenant_id uuid not null,
    id uuid not null,
    name text not null check (length(name) between 1 and 255),
    description text not null default '',
    version int not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, name)
);
create index customer_group_created on customer_group (tenant_id, created_at, id);
create table customer_group_member (
    tenant_id uuid not null,
    group_id uuid not null,
    customer_id uuid not null,
    added_at timestamptz not null default now(),
    primary key (tenant_id, group_id, customer_id),
    foreign key (tenant_id, group_id) references customer_group (tenant_id, id) on delete cascade,
    foreign key (tenant_id, customer_id) references customer (tenant_id, id) on delete cascade
);
create index customer_group_member_customer on customer_group_member (tenant_id, customer_id);

-- Its prices are for its channels and groups; without either, for all. An adjustment is for every variant without a price of its own.
create table price_list (
    tenant_id uuid not null,
    id uuid not null,
    name text not null check (length(name) between 1 and 255),
    currency currency_code not null,
    priority int not null,
    starts_at timestamptz,
    ends_at timestamptz,
    is_active boolean not null,
    adjustment_type text check (adjustment_type in ('percentage', 'fixed')),
    adjustment_value numeric check (adjustment_type = 'fixed' or adjustment_value between -100 and 100),
    version int not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, id, currency),
    check (starts_at < ends_at),
    check ((adjustment_type is null) = (adjustment_value is null))
);
create index price_list_created on price_list (tenant_id, created_at, id);
-- A list and its channels have one currency.
create table price_list_channel (
    tenant_id uuid not null,
    price_list_id uuid not null,
    channel_id uuid not null,
    currency currency_code not null,
    primary key (tenant_id, price_list_id, channel_id),
    foreign key (tenant_id, price_list_id, currency)
        references price_list (tenant_id, id, currency) on delete cascade,
    foreign key (tenant_id, channel_id, currency) references channel (tenant_id, id, currency)
);
create index price_list_channel_channel on price_list_channel (tenant_id, channel_id);
create table price_list_group (
    tenant_id uuid not null,
    price_list_id uuid not null,
    group_id uuid not null,
    primary key (tenant_id, price_list_id, group_id),
    foreign key (tenant_id, price_list_id) references price_list (tenant_id, id) on delete cascade,
    foreign key (tenant_id, group_id) references customer_group (tenant_id, id)
);
create index price_list_group_group on price_list_group (tenant_id, group_id);
-- The price of a variant from a quantity on.
create table list_price (
    tenant_id uuid not null,
    price_list_id uuid not null,
    variant_id uuid not null,
    min_quantity int not null check (min_quantity between 1 and 9999),
    currency currency_code not null,
    amount numeric not null,
    compare_at numeric,
    primary key (tenant_id, price_list_id, variant_id, min_quantity),
    foreign key (tenant_id, price_list_id, currency)
        references price_list (tenant_id, id, currency) on delete cascade,
    foreign key (tenant_id, variant_id) references variant (tenant_id, id) on delete cascade,
    check (is_amount(amount, currency)),
    check (is_amount(compare_at, currency))
);
create index list_price_variant on list_price (tenant_id, variant_id);

-- What a variant costs in a currency that it has no price in.
create table exchange_rate (
    tenant_id uuid not null,
    from_currency currency_code not null,
    to_currency currency_code not null,
    rate numeric not null check (rate > 0 and rate < 1e9),
    rounding text not null check (rounding in ('none', '0.05', '0.10', '0.50', 'whole', '0.95', '0.99')),
    -- Follows the source in the settings.
    is_automatic boolean not null default false,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, from_currency, to_currency),
    check (from_currency <> to_currency)
);

-- A product in a channel: the lowest price of its variants, for nobody's group and one unit, during a time. Made from the tables above by list_products, whose lock is always a transaction's last: so it has no foreign keys.
create table channel_listing (
    tenant_id uuid not null,
    channel_id uuid not null,
    product_id uuid not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    price numeric not null,
    compare_at_price numeric,
    -- The product's: a list is found, sorted and counted without it.
    status text not null,
    -- When it was made, it had not started yet. So what counts later stands in no page's way.
    is_to_come boolean not null,
    primary key (tenant_id, product_id, channel_id, starts_at),
    check (starts_at < ends_at)
);
create index channel_listing_price on channel_listing
    (tenant_id, channel_id, status, price, product_id) where not is_to_come;
create index channel_listing_to_come on channel_listing
    (tenant_id, starts_at, channel_id) where is_to_come;
create index channel_listing_ends on channel_listing
    (tenant_id, ends_at) where ends_at < 'infinity';

alter table cart add column channel_id uuid;
alter table cart add constraint cart_channel_fkey foreign key (tenant_id, channel_id, currency)
    references channel (tenant_id, id, currency) not valid;
alter table sales_order add column channel_id uuid;

-- Prices ----------------------------------------------------------------------------------------

-- Halves are rounded up. 0.99 and 0.95 are the nearest prices that end so.
create function rounded_price(amount numeric, rounding text, currency text) returns numeric
    language sql immutable parallel safe
    return round(case rounding
        when 'whole' then round(amount)
        when '0.05' then round(amount * 20) / 20
        when '0.10' then round(amount * 10) / 10
        when '0.50' then round(amount * 2) / 2
        when '0.95' then greatest(round(amount + 0.05) - 0.05, 0.95)
        when '0.99' then greatest(round(amount + 0.01) - 0.01, 0.99)
        else amount end, currency_digits(currency));

-- A price as an adjustment changes it; never below zero. Null without one.
create function adjusted_price(price numeric, type text, value numeric, currency text)
    returns numeric language sql immutable parallel safe
    return case when price + value is not null then greatest(0, round(
        case type when 'percentage' then price * (100 + value) / 100 else price + value end,
        currency_digits(currency))) end;

-- All that a variant could cost in a channel: by each price list that is for these groups, this quantity and this moment, and by itself. The first is what it costs.
create function possible_prices(
        tenant uuid, its_channel uuid, its_currency text, groups uuid[], its_variant uuid,
        units bigint, moment timestamptz)
    returns table (amount numeric, compare_at numeric, price_list_id uuid, priority int)
    language sql stable parallel safe
    as $$
        select found.amount,
               -- What the price is shown beside is higher.
               case when found.shown > found.amount then found.shown end,
               found.id, found.priority
          from (
            select case when v.currency = its_currency then v.price
                        else rounded_price(v.price * x.rate, x.rounding, its_currency) end,
                   case when v.currency = its_currency then v.compare_at_price
                        else rounded_price(v.compare_at_price * x.rate, x.rounding, its_currency)
                        end
              from variant v
              left join exchange_rate x
                on (x.tenant_id, x.from_currency, x.to_currency)
                   = (v.tenant_id, v.currency, its_currency)
             where (v.tenant_id, v.id) = (tenant, its_variant)) base (price, compare_at)
         cross join lateral (
            select coalesce(p.amount, adjusted_price(base.price, l.adjustment_type,
                                                     l.adjustment_value, its_currency)),
                   coalesce(p.compare_at, base.compare_at, base.price), l.id, l.priority
              from price_list l
              left join lateral (
                select q.amount, q.compare_at from list_price q
                 where (q.tenant_id, q.price_list_id, q.variant_id) = (tenant, l.id, its_variant)
                   and q.min_quantity <= units
                 order by q.min_quantity desc
                 limit 1) p on true
             where l.tenant_id = tenant and l.is_active and l.currency = its_currency
               and (l.starts_at is null or l.starts_at <= moment)
               and (l.ends_at is null or l.ends_at > moment)
               and (not exists (select from price_list_channel c
                                 where (c.tenant_id, c.price_list_id) = (tenant, l.id))
                    or exists (select from price_list_channel c
                                where (c.tenant_id, c.price_list_id, c.channel_id)
                                      = (tenant, l.id, its_channel)))
               and (not exists (select from price_list_group g
                                 where (g.tenant_id, g.price_list_id) = (tenant, l.id))
                    or exists (select from price_list_group g
                                where (g.tenant_id, g.price_list_id) = (tenant, l.id)
                                  and g.group_id = any(groups)))
            union all
            select base.price, base.compare_at, null, null) found (amount, shown, id, priority)
         where found.amount is not null
         order by found.priority desc nulls last, found.amount, found.id
    $$;

create function channel_price(
        tenant uuid, its_channel uuid, its_currency text, groups uuid[], its_variant uuid,
        units bigint, moment timestamptz)
    returns table (amount numeric, compare_at numeric)
    language sql stable parallel safe
    as $$
        select p.amount, p.compare_at
          from possible_prices(tenant, its_channel, its_currency, groups, its_variant, units, moment) p
         order by p.priority desc nulls last, p.amount, p.price_list_id
         limit 1
    $$;

-- Whether a product is sold in a channel at a moment, whatever it costs there.
create function is_listed(tenant uuid, its_channel uuid, its_product uuid, moment timestamptz)
    returns boolean language sql stable parallel safe
    as $$
        select coalesce(
            (select (m.available_from is null or m.available_from <= moment)
                and (m.available_until is null or m.available_until > moment)
               from channel_product m
              where (m.tenant_id, m.channel_id, m.product_id) = (tenant, its_channel, its_product)),
            (select c.listed = 'all' from channel c where (c.tenant_id, c.id) = (tenant, its_channel)))
    $$;

-- The locations that a channel's orders are served from; null: all.
create function channel_locations(tenant uuid, its_channel uuid) returns uuid[]
    language sql stable parallel safe
    as $$
        select array_agg(l.location_id) from channel_location l
         where (l.tenant_id, l.channel_id) = (tenant, its_channel)
    $$;

-- When anything in the shop's channels changes next by time alone.
create function next_price_change(tenant uuid, moment timestamptz) returns timestamptz
    language sql stable parallel safe
    as $$
        select least(
            (select min(starts_at) from price_list
              where tenant_id = tenant and is_active and starts_at > moment),
            (select min(ends_at) from price_list
              where tenant_id = tenant and is_active and ends_at > moment),
            (select min(available_from) from channel_product
              where tenant_id = tenant and available_from > moment),
            (select min(available_until) from channel_product
              where tenant_id = tenant and available_until > moment))
    $$;

-- Listings --------------------------------------------------------------------------------------

-- Makes the listings of these channels and products anew; null: of all. Only one transaction of a shop does so at a time.
create function list_products(tenant uuid, channels uuid[], products uuid[]) returns void
    language plpgsql
    as $$
    begin
        perform pg_advisory_xact_lock(hashtextextended('listings ' || tenant, 0));
        delete from channel_listing l
         where l.tenant_id = tenant
           and (channels is null or l.channel_id = any(channels))
           and (products is null or l.product_id = any(products));
        insert into channel_listing
            (tenant_id, channel_id, product_id, starts_at, ends_at, price, compare_at_price, status,
             is_to_come)
        with bound as (
            select c.id as channel_id, c.currency, c.listed, b.at
              from channel c
             cross join lateral (
                select '-infinity'::timestamptz as at
                union select unnest(array[l.starts_at, l.ends_at]) from price_list l
                       where l.tenant_id = tenant and l.is_active and l.currency = c.currency) b
             where c.tenant_id = tenant and (channels is null or c.id = any(channels))
               and (b.at > now() or b.at = '-infinity')
        ), span as (
            select channel_id, currency, listed, at as starts_at,
                   lead(at, 1, 'infinity') over (partition by channel_id order by at) as ends_at
              from bound
        ), priced as (
            select s.channel_id, p.id as product_id, p.status,
                   greatest(s.starts_at, m.available_from) as starts_at,
                   least(s.ends_at, m.available_until) as ends_at,
                   lowest.amount, lowest.compare_at
              from span s
              join product p on p.tenant_id = tenant
              left join channel_product m
                on (m.tenant_id, m.channel_id, m.product_id) = (tenant, s.channel_id, p.id)
             cross join lateral (
                select offered.amount, offered.compare_at
                  from variant v
                 cross join lateral channel_price(tenant, s.channel_id, s.currency, '{}', v.id, 1,
                                                  greatest(s.starts_at, now())) offered
                 where (v.tenant_id, v.product_id) = (tenant, p.id)
                 order by offered.amount, v.position, v.id
                 limit 1) lowest
             where (products is null or p.id = any(products))
               and (s.listed = 'all' or m.product_id is not null)
        ), marked as (
            -- A time begins where the price differs from the one before.
            select *, (amount, compare_at) is distinct from
                      (lag(amount) over in_time, lag(compare_at) over in_time)
                      or starts_at is distinct from lag(ends_at) over in_time as begins
              from priced
             where starts_at < ends_at and ends_at > now()
            window in_time as (partition by channel_id, product_id order by starts_at)
        ), joined as (
            select *, count(*) filter (where begins) over (
                       partition by channel_id, product_id order by starts_at) as number
              from marked
        )
        select tenant, channel_id, product_id, min(starts_at), max(ends_at), amount, compare_at,
               status, min(starts_at) > now()
          from joined
         group by channel_id, product_id, number, amount, compare_at, status;
    end
    $$;

-- Tidies the listings up after their times: they mean the same before and after it.
create function renew_listings(tenant uuid) returns void
    language plpgsql
    as $$
    begin
        perform pg_advisory_xact_lock(hashtextextended('listings ' || tenant, 0));
        delete from channel_listing where tenant_id = tenant and ends_at <= now();
        update channel_listing set is_to_come = false
         where tenant_id = tenant and is_to_come and starts_at <= now();
    end
    $$;

-- A product's status is new, or the price of one of its variants. At the end of the transaction, so that no row is locked after the listings are.
create function list_changed_product() returns trigger
    language plpgsql
    as $$
    declare
        its record := coalesce(new, old);
        changed uuid;
    begin
        if tg_table_name = 'product' then changed := its.id; else changed := its.product_id; end if;
        -- With begin_channel, either this sees a new channel, or the channel's listings see this.
        perform pg_advisory_xact_lock_shared(hashtextextended('channels ' || its.tenant_id, 0));
        if exists (select from channel where tenant_id = its.tenant_id)
           -- Nor is it listed again for each of its variants.
           and not exists (select from channel_listing l
                            where (l.tenant_id, l.product_id) = (its.tenant_id, changed)
                              and l.xmin = pg_current_xact_id()::xid)
        then
            perform list_products(its.tenant_id, null, array[changed]);
            perform invalidate(its.tenant_id, array['prices']);
        end if;
        return null;
    end
    $$;
create constraint trigger list_new after insert or delete on variant
    deferrable initially deferred
    for each row execute function list_changed_product();
create constraint trigger list_changed after update on variant
    deferrable initially deferred
    for each row when ((old.price, old.compare_at_price, old.currency)
                       is distinct from (new.price, new.compare_at_price, new.currency))
    execute function list_changed_product();
create constraint trigger list_changed after update on product
    deferrable initially deferred
    for each row when (old.status <> new.status) execute function list_changed_product();

-- What is for sale in a channel, and for how much, is new.
create function invalidate_channels() returns trigger
    language plpgsql
    as $$
    begin
        perform invalidate(coalesce(new.tenant_id, old.tenant_id), array['channels']);
        return null;
    end
    $$;
create trigger invalidate after insert or update or delete on channel
    for each row execute function invalidate_channels();
create trigger invalidate after insert or update or delete on price_list
    for each row execute function invalidate_channels();
create trigger invalidate after insert or update or delete on exchange_rate
    for each row execute function invalidate_channels();
create trigger invalidate after insert or update or delete on channel_location
    for each row execute function invalidate_channels();
create trigger invalidate after insert or update or delete on channel_product
    for each row execute function invalidate_channels();
