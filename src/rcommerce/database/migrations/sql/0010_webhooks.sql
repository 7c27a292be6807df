-- Webhooks out: who wants to hear of what, and each message to each of them. The message and its job are
-- made by a trigger, in the transaction of what happened.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table webhook_subscription (
    tenant_id uuid not null,
    id uuid not null,
    url text not null check (length(url) between 8 and 2048),
    events text[] not null check (cardinality(events) > 0),
    description text not null default '',
    secret text not null,
    is_active boolean not null default true,
    -- Why it is not, where nobody has said so: the receiver answered 410.
    ended_because text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id)
);

create table webhook_delivery (
    tenant_id uuid not null,
    id uuid not null,
    subscription_id uuid not null,
    event_type text not null,
    -- Messages about one thing are delivered in their order.
    subject text not null,
    payload jsonb not null,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
    attempts int not null default 0,
    response_status int,
    error text,
    attempted_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, subscription_id)
        references webhook_subscription (tenant_id, id) on delete cascade
);
create index webhook_delivery_subscription
    on webhook_delivery (tenant_id, subscription_id, created_at, id);
create index webhook_delivery_pending on webhook_delivery (tenant_id, created_at)
    where state = 'pending';
create index webhook_delivery_over on webhook_delivery (tenant_id, created_at)
    where state <> 'pending';

-- Whether anybody listens: asked first, as mostly nobody does.
create function is_listened_to(tenant uuid) returns boolean
    language sql stable parallel safe
    return exists (select from webhook_subscription s where s.tenant_id = tenant and s.is_active);

create function defer_delivery(tenant uuid, delivery uuid, subscription uuid, subject text)
    returns void
    language sql
    begin atomic
        insert into procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args)
        values ('webhooks', 'webhooks.deliver', 'webhook:' || subscription || ':' || subject,
                'webhook:' || delivery,
                jsonb_build_object('tenant_id', tenant, 'delivery_id', delivery))
        on conflict (queueing_lock) where status = 'todo' do nothing;
    end;

create function emit_event(tenant uuid, event text, subject text, data jsonb) returns void
    language plpgsql
    as $$
    declare
        made record;
    begin
        for made in
            insert into webhook_delivery
                   (tenant_id, id, subscription_id, event_type, subject, payload)
            select tenant, new_id(), s.id, event, emit_event.subject,
                   jsonb_build_object('type', event, 'timestamp', rfc3339(now()), 'data', data)
              from webhook_subscription s
             where s.tenant_id = tenant and s.is_active
               and (event = any(s.events) or split_part(event, '.', 1) || '.*' = any(s.events)
                    or '*' = any(s.events))
             order by s.id
            returning id, subscription_id
        loop
            perform defer_delivery(tenant, made.id, made.subscription_id, emit_event.subject);
        end loop;
    end
    $$;

create function emit_order_events() returns trigger
    language plpgsql
    as $$
    declare
        happened record;
    begin
        for happened in
            select n.tenant_id, n.type, o.id,
                   jsonb_build_object(
                       'id', o.id, 'order_number', o.order_number, 'customer_id', o.customer_id,
                       'customer_email', o.customer_email, 'status', o.status,
                       'payment_status', o.payment_status,
                       'fulfillment_status', o.fulfillment_status, 'currency', o.currency,
                       'total', o.total::text, 'event', n.data) as data
              from new_rows n
              join sales_order o on (o.tenant_id, o.id) = (n.tenant_id, n.order_id)
             where is_listened_to(n.tenant_id)
             order by n.id
        loop
            perform emit_event(happened.tenant_id, 'order.' || happened.type,
                               'order:' || happened.id, happened.data);
        end loop;
        return null;
    end
    $$;
create trigger emit_events after insert on order_event
    referencing new table as new_rows
    for each statement execute function emit_order_events();

create function emit_product_events() returns trigger
    language plpgsql
    as $$
    declare
        happened record;
        word text := case tg_op when 'INSERT' then 'created' when 'UPDATE' then 'updated'
                     else 'deleted' end;
    begin
        for happened in
            select n.tenant_id, n.id,
                   jsonb_build_object(
                       'id', n.id, 'title', n.title, 'slug', n.slug, 'status', n.status,
                       'currency', n.currency, 'price', n.price::text) as data
              from new_rows n
             where is_listened_to(n.tenant_id)
             order by n.id
        loop
            perform emit_event(happened.tenant_id, 'product.' || word,
                               'product:' || happened.id, happened.data);
        end loop;
        return null;
    end
    $$;
create trigger emit_created after insert on product
    referencing new table as new_rows
    for each statement execute function emit_product_events();
create trigger emit_updated after update on product
    referencing new table as new_rows
    for each statement execute function emit_product_events();
create trigger emit_deleted after delete on product
    referencing old table as new_rows
    for each statement execute function emit_product_events();

create function emit_customer_events() returns trigger
    language plpgsql
    as $$
    begin
        if is_listened_to(new.tenant_id) then
            perform emit_event(new.tenant_id, 'customer.created', 'customer:' || new.id,
                jsonb_build_object('id', new.id, 'email', new.email,
                                   'first_name', new.first_name, 'last_name', new.last_name));
        end if;
        return null;
    end
    $$;
create trigger emit_created after insert on customer
    for each row execute function emit_customer_events();
