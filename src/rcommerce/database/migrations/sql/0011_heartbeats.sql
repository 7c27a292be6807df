-- What each process of the fleet says of itself, every few seconds. Of the control database alone; unlogged:
-- after a crash all of them say it again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create unlogged table heartbeat (
    -- host:port of a server, host of a worker.
    instance text not null,
    pid int not null,
    kind text not null check (kind in ('server', 'worker')),
    version text not null,
    -- A digest of each setting, by its key: whether two processes have the same.
    settings jsonb not null,
    is_draining boolean not null,
    figures jsonb not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    primary key (instance, pid)
);
