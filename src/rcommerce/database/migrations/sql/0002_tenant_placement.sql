-- Where tenants live. The directory and the moves are the control database's; the placement is
-- each shard's own word on who lives there. In a small installation all stand in one database.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table tenant_directory (
    tenant_id uuid primary key references tenant (id),
    shard text not null,
    epoch bigint not null check (epoch > 0),
    changed_at timestamptz not null default now()
);
create index tenant_directory_changed on tenant_directory (changed_at);

-- `left` stays behind as the forwarding address: this commit, on the shard that is left, is the
-- moment in which a tenant has moved.
create table tenant_placement (
    tenant_id uuid primary key,
    epoch bigint not null check (epoch > 0),
    state text not null check (state in ('active', 'fenced', 'left')),
    fenced_until timestamptz,
    moved_to text,
    check ((state = 'fenced') = (fenced_until is not null)),
    check ((state = 'left') = (moved_to is not null))
);

create table tenant_move (
    tenant_id uuid primary key references tenant (id),
    source text not null,
    target text not null,
    phase text not null,
    detail jsonb not null default '{}',
    started_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create function tenant_lock(tenant uuid) returns bigint
    language sql immutable parallel safe
    return uuid_hash_extended(tenant, 7262);

-- Begins a write of a tenant: refuses it with RC001 where the tenant does not live here in this
-- epoch (the detail has the shard and the hint the epoch of its new home, if it left an address),
-- with RC002 while it is about to move. A move takes the same lock exclusively, so that it waits for
-- the writes that have begun. The lock comes first: only a statement after it sees what a move has
-- committed meanwhile.
create function enter_tenant(tenant uuid, known_epoch bigint) returns void
    language plpgsql volatile
    as $$
    declare
        -- An assignment is a quick way to call a function.
        locked text := pg_advisory_xact_lock_shared(uuid_hash_extended(tenant, 7262));
        found record;
    begin
        select p.state, p.epoch, p.fenced_until, p.moved_to into found
          from tenant_placement p where p.tenant_id = tenant;
        if found.state = 'active' and found.epoch = known_epoch then
            return;
        elsif found.state = 'fenced' and found.epoch = known_epoch then
            if found.fenced_until <= clock_timestamp() then
                return; -- the move that made it is gone
            end if;
            raise sqlstate 'RC002' using message = 'the tenant is about to move';
        end if;
        raise sqlstate 'RC001' using message = 'the tenant has moved',
            detail = coalesce(found.moved_to, ''),
            hint = case when found.state = 'left' then (found.epoch + 1)::text else '' end;
    end
    $$;
