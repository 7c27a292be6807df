-- Who is logged in, where there is no Redis; which tokens hold no longer; and how far a CDN has been
-- told what is out of date.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- All tokens and sessions of a customer carry the number that was current when they were made: to
-- count it up ends them all at once ("log out everywhere", a new password).
alter table customer add column token_version int not null default 0;

-- The hash of a cookie. In use without Redis; with it, sessions are there.
create table session (
    tenant_id uuid not null,
    token_hash text not null,
    customer_id uuid not null,
    role text not null,
    token_version int not null,
    user_agent text not null,
    address text not null,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    primary key (tenant_id, token_hash),
    foreign key (tenant_id, customer_id) references customer (tenant_id, id) on delete cascade
);
create index session_customer on session (tenant_id, customer_id);

-- Access tokens that were given back before their time.
create table revoked_token (
    tenant_id uuid not null,
    token_id uuid not null,
    customer_id uuid not null,
    expires_at timestamptz not null,
    primary key (tenant_id, token_id),
    foreign key (tenant_id, customer_id) references customer (tenant_id, id) on delete cascade
);
create index revoked_token_customer on revoked_token (tenant_id, customer_id);

-- How far the CDN of a shard's shops has been told: every tag that was made untrue at or before
-- `position`. One process at a time tells it, until `leased_until`.
create table cdn_purge (
    is_only boolean primary key default true check (is_only),
    position bigint not null default 0,
    leased_until timestamptz not null default '-infinity'
);
insert into cdn_purge default values;

-- Arguments: the column with the customer's id.
create function invalidate_customer() returns trigger
    language plpgsql
    as $$
    begin
        if tg_op = 'DELETE' then
            perform invalidate((to_jsonb(old) ->> 'tenant_id')::uuid,
                               array['customer:' || (to_jsonb(old) ->> tg_argv[0])]);
        else
            perform invalidate((to_jsonb(new) ->> 'tenant_id')::uuid,
                               array['customer:' || (to_jsonb(new) ->> tg_argv[0])]);
        end if;
        return null;
    end
    $$;

-- A customer that is new has nothing yet that anybody keeps.
create trigger invalidate after update or delete on customer
    for each row execute function invalidate_customer('id');
create trigger invalidate after insert or update or delete on customer_address
    for each row execute function invalidate_customer('customer_id');
create trigger invalidate after insert on revoked_token
    for each row execute function invalidate_customer('customer_id');
