-- What a write makes untrue of the answers that are kept elsewhere. Triggers collect the tags, so
-- that no write can forget to, whoever made it: this release, the one before it, an import, psql.
-- The tags commit with the write; a process publishes them afterwards, as a NOTIFY inside a hot
-- transaction would halve its speed (it takes a lock over all databases at commit).
--
-- Tags: product:ID, collection:ID, category:ID; `products` (which there are, in what
-- order), `price` (and in what order by price), `stock` (what can be bought), `content` (any
-- product has changed), `shown` (which collections are), `collections`, `categories`; `moved`;
-- `*` for all of a tenant.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Committed, and not published yet.
create table cache_invalidation (
    id bigint generated always as identity primary key,
    tenant_id uuid not null,
    tags text[] not null
);

-- Where in the write-ahead log each tag was last made untrue; kept for as long as any cache keeps
-- an answer. What was read before that position is out of date.
create table cache_tag (
    tenant_id uuid not null,
    tag text not null,
    position bigint not null,
    published_at timestamptz not null default now(),
    primary key (tenant_id, tag)
) with (fillfactor = 70);

-- Every commit before this position is published.
create table cache_horizon (
    is_only boolean primary key default true check (is_only),
    position bigint not null
) with (fillfactor = 50);
insert into cache_horizon (position) values (0);

create function invalidate(tenant uuid, tags text[]) returns void
    language sql volatile
    as $$
        insert into cache_invalidation (tenant_id, tags)
        select tenant, case when cardinality(tags) > 1000 then array['*'] else tags end
         where cardinality(tags) > 0
    $$;

-- Publishes what has been committed. `wanted` is the position of the caller's last write: where
-- another process has published past it already, nothing is left to do. Null asks for what a
-- process that died may have left. Returns the horizon.
--
-- The order of the steps is what makes the positions true. The horizon is taken before the
-- statement that looks for rows: a commit that the statement does not see yet has not been
-- answered, so its consistency token is not below the horizon. The position of the tags is taken
-- after it: it is not below any of their commits.
create function publish_invalidations(wanted bigint) returns bigint
    language plpgsql volatile
    as $$
    declare
        horizon bigint;
        reached bigint;
        messages text[];
        message text;
    begin
        perform pg_advisory_xact_lock(7264);
        select h.position into horizon from cache_horizon h;
        reached := pg_current_wal_flush_lsn() - '0/0';
        if horizon > reached then
            -- The database was restored into another server, whose log counts from elsewhere.
            delete from cache_tag;
        elsif horizon > wanted or wanted is null and not exists (select from cache_invalidation) then
            return horizon;
        end if;
        -- Nobody should wait for a far standby before he hears of a change.
        perform set_config('synchronous_commit', 'local', true);
        with here as materialized (
            select (pg_current_wal_insert_lsn() - '0/0')::bigint as position
        ), due as (
            delete from cache_invalidation returning tenant_id, tags
        ), found as (
            select distinct tenant_id, unnest(tags) as tag from due
        ), noted as (
            insert into cache_tag as t (tenant_id, tag, position)
            select f.tenant_id, f.tag, here.position from found f, here
             order by f.tenant_id, f.tag
            on conflict (tenant_id, tag)
                do update set position = excluded.position, published_at = now()
        ), chunked as (
            -- A notification has room for 8,000 bytes.
            select tenant_id, tag, row_number() over (order by tenant_id) / 120 as chunk from found
        ), of_tenant as (
            select chunk, json_build_array(tenant_id, json_agg(tag)) as tags
              from chunked group by chunk, tenant_id
        ), of_chunk as (
            select json_build_object('position', here.position, 'tags', json_agg(o.tags))::text as text
              from of_tenant o, here group by o.chunk, here.position
        )
        select array_agg(text) into messages from of_chunk;
        foreach message in array coalesce(messages, '{}') loop
            perform pg_notify('rcommerce_invalidated', message);
        end loop;
        update cache_horizon set position = reached;
        perform pg_notify('rcommerce_invalidated', json_build_object('horizon', reached)::text);
        return reached;
    end
    $$;

-- Forgets tags that no cache holds an answer for any more; they are made untrue anew when they are.
create function forget_invalidations(older_than interval) returns void
    language sql volatile
    as $$ delete from cache_tag where published_at < now() - older_than $$;

-- Products --------------------------------------------------------------------------------------

create function invalidate_product() returns trigger
    language plpgsql
    as $$
    begin
        if tg_op = 'UPDATE' then
            perform invalidate(n.tenant_id, array_agg('product:' || n.id) || array['content']
                || case when bool_or(
                       (n.status, n.slug, n.title, n.created_at, n.product_type, n.vendor, n.tags,
                        n.is_featured, n.category_id)
                       is distinct from
                       (o.status, o.slug, o.title, o.created_at, o.product_type, o.vendor, o.tags,
                        o.is_featured, o.category_id))
                   then array['products'] else '{}' end
                || case when bool_or(n.price is distinct from o.price)
                   then array['price'] else '{}' end)
               from new_rows n join old_rows o on (o.tenant_id, o.id) = (n.tenant_id, n.id)
              group by n.tenant_id;
        elsif tg_op = 'INSERT' then
            perform invalidate(n.tenant_id, array_agg('product:' || n.id)
                || array['content', 'products', 'price', 'stock'])
               from new_rows n group by n.tenant_id;
        else
            perform invalidate(o.tenant_id, array_agg('product:' || o.id)
                || array['content', 'products', 'price', 'stock'])
               from old_rows o group by o.tenant_id;
        end if;
        return null;
    end
    $$;

-- Variants and images: what is shown with a product. Arguments: more tags.
create function invalidate_part_of_product() returns trigger
    language plpgsql
    as $$
    begin
        if tg_op <> 'DELETE' then
            perform invalidate(n.tenant_id, array_agg(distinct 'product:' || n.product_id) || tg_argv)
               from new_rows n group by n.tenant_id;
        end if;
        if tg_op <> 'INSERT' then
            perform invalidate(o.tenant_id, array_agg(distinct 'product:' || o.product_id) || tg_argv)
               from old_rows o group by o.tenant_id;
        end if;
        return null;
    end
    $$;

create function invalidate_membership() returns trigger
    language plpgsql
    as $$
    begin
        if tg_op <> 'DELETE' then
            perform invalidate(n.tenant_id, array_agg(distinct 'collection:' || n.collection_id)
                || array_agg(distinct 'product:' || n.product_id))
               from new_rows n group by n.tenant_id;
        end if;
        if tg_op <> 'INSERT' then
            perform invalidate(o.tenant_id, array_agg(distinct 'collection:' || o.collection_id)
                || array_agg(distinct 'product:' || o.product_id))
               from old_rows o group by o.tenant_id;
        end if;
        return null;
    end
    $$;

-- Only what can be bought counts: a sale of reserved units changes nothing that anybody sees.
create function invalidate_stock() returns trigger
    language plpgsql
    as $$
    begin
        if tg_op = 'UPDATE' then
            perform invalidate(n.tenant_id, array_agg(distinct 'product:' || v.product_id)
                || case when bool_or((n.on_hand > n.reserved) <> (o.on_hand > o.reserved))
                   then array['stock'] else '{}' end)
               from new_rows n
               join old_rows o on (o.tenant_id, o.variant_id, o.location_id)
                                = (n.tenant_id, n.variant_id, n.location_id)
               join variant v on (v.tenant_id, v.id) = (n.tenant_id, n.variant_id)
              where n.on_hand - n.reserved <> o.on_hand - o.reserved
              group by n.tenant_id;
        elsif tg_op = 'INSERT' then
            perform invalidate(n.tenant_id, array_agg(distinct 'product:' || v.product_id)
                || array['stock'])
               from new_rows n join variant v on (v.tenant_id, v.id) = (n.tenant_id, n.variant_id)
              group by n.tenant_id;
        else
            perform invalidate(o.tenant_id, array_agg(distinct 'product:' || v.product_id)
                || array['stock'])
               from old_rows o join variant v on (v.tenant_id, v.id) = (o.tenant_id, o.variant_id)
              group by o.tenant_id;
        end if;
        return null;
    end
    $$;

-- Others ----------------------------------------------------------------------------------------

-- A row that is shown by itself, in a list of its kind, and with products. Arguments: the word for
-- one, and that for the list.
create function invalidate_row() returns trigger
    language plpgsql
    as $$
    begin
        if tg_op <> 'DELETE' then
            perform invalidate(n.tenant_id, array_agg(tg_argv[0] || ':' || n.id) || tg_argv[1])
               from new_rows n group by n.tenant_id;
        end if;
        if tg_op <> 'INSERT' then
            perform invalidate(o.tenant_id, array_agg(tg_argv[0] || ':' || o.id) || tg_argv[1])
               from old_rows o group by o.tenant_id;
        end if;
        return null;
    end
    $$;

-- A product shows the collections that are active: one that becomes so is not among its tags yet.
create function invalidate_shown() returns trigger
    language plpgsql
    as $$
    begin
        perform invalidate(n.tenant_id, array['shown'])
           from new_rows n join old_rows o on (o.tenant_id, o.id) = (n.tenant_id, n.id)
          where n.is_active <> o.is_active group by n.tenant_id;
        return null;
    end
    $$;

create trigger invalidate_shown after update on collection
    referencing old table as old_rows new table as new_rows
    for each statement execute function invalidate_shown();

create function invalidate_moved() returns trigger
    language plpgsql
    as $$
    begin
        perform invalidate(new.tenant_id, array['moved', '*']);
        return null;
    end
    $$;

create trigger invalidate after update of state, epoch on tenant_placement
    for each row when (new.state = 'left') execute function invalidate_moved();

-- A trigger that sees its statement's rows stands for one kind of statement.
do $$
declare
    watched text[] := array[
        'product', 'invalidate_product()',
        'variant', 'invalidate_part_of_product(''stock'')',
        'product_image', 'invalidate_part_of_product()',
        'collection_product', 'invalidate_membership()',
        'inventory_level', 'invalidate_stock()',
        'collection', 'invalidate_row(''collection'', ''collections'')',
        'category', 'invalidate_row(''category'', ''categories'')'
    ];
begin
    for number in 1 .. array_length(watched, 1) by 2 loop
        execute format('create trigger invalidate_inserted after insert on %I
            referencing new table as new_rows
            for each statement execute function %s', watched[number], watched[number + 1]);
        execute format('create trigger invalidate_updated after update on %I
            referencing old table as old_rows new table as new_rows
            for each statement execute function %s', watched[number], watched[number + 1]);
        execute format('create trigger invalidate_deleted after delete on %I
            referencing old table as old_rows
            for each statement execute function %s', watched[number], watched[number + 1]);
    end loop;
end
$$;
