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

-- Begins a write of a tenant: whether it lives here in this epoch, and where else it does. A move
-- takes the same lock exclusively, so that it waits for the writes that have begun. The lock comes
-- first: only a statement after it sees what a move has committed meanwhile.
create function enter_tenant(
    tenant uuid, known_epoch bigint, out state text, out shard text, out epoch bigint
)
    language plpgsql volatile
    as $$
    begin
        perform pg_advisory_xact_lock_shared(tenant_lock(tenant));
        select case
                   when p.state = 'left' or p.epoch <> known_epoch then 'moved'
                   when p.state = 'fenced' and p.fenced_until > clock_timestamp() then 'fenced'
                   else 'active'
               end,
               p.moved_to,
               case when p.state = 'left' then p.epoch + 1 else p.epoch end
          into enter_tenant.state, enter_tenant.shard, enter_tenant.epoch
          from tenant_placement p
         where p.tenant_id = tenant;
        if not found then
            enter_tenant.state := 'moved';
        end if;
    end
    $$;
