"""A PostgreSQL server's state, queried with a short timeout."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from rcommerce.database.pool import hang_up
from rcommerce.doctor.findings import ASKED, Distance, Sample, distance
from rcommerce.errors import StartError

TIMEOUT_S = 5.0
FACTS: LiteralString = """
select current_setting('server_version_num')::int / 10000 as version,
       current_setting('max_connections')::int as max_connections,
       current_setting('superuser_reserved_connections')::int as reserved,
       (select count(*) from pg_stat_activity
         where backend_type = 'client backend' and pid <> pg_backend_pid())::int as used,
       current_setting('wal_level') as wal_level,
       current_setting('synchronous_standby_names') as synchronous,
       current_setting('max_replication_slots')::int
           - (select count(*) from pg_replication_slots)::int as free_slots,
       pg_is_in_recovery() as is_replica,
       exists (select from pg_stat_wal_receiver where pid is not null) as receives,
       extract(epoch from now() - pg_last_xact_replay_timestamp())::float8 as replayed_s,
       (select rolreplication or rolsuper from pg_roles where rolname = current_user) as replicates,
       (select rolsuper or (to_regrole('pg_create_subscription') is not null
                and pg_has_role(current_user, to_regrole('pg_create_subscription'), 'member'))
          from pg_roles where rolname = current_user) as subscribes,
       pg_postmaster_start_time()::text || ' ' || coalesce(inet_server_port(), 0) as server,
       (select system_identifier from pg_control_system())::text as cluster,
       case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
            else pg_current_wal_flush_lsn() end - '0/0'::pg_lsn as position
"""
NOW: LiteralString = "select extract(epoch from clock_timestamp())::float8 as now"


def facts_of(dsn: str) -> dict[str, Any]:
    """A server's state; `far` is its Distance. Raises StartError."""
    try:
        with opened(dsn) as connection:
            row = connection.execute(FACTS).fetchone()
            far = distance_of(connection)
    except psycopg.Error as error:
        raise StartError(f"cannot be reached: {first_line(error)}") from error
    assert row is not None  # noqa: S101 - a statement without a from
    return row | {"far": far}


def distance_of(connection: psycopg.Connection[dict[str, Any]]) -> Distance:
    """Its round-trip time. Raises psycopg.Error."""

    def its_time() -> float:
        row = connection.execute(NOW).fetchone()
        return float(row["now"]) if row else 0.0

    return distance([Sample(time.time(), its_time(), time.time()) for _ in ASKED])


@contextlib.contextmanager
def opened(dsn: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection for a few statements, with a timeout: a pooler may wait for a server that it
    cannot reach. Raises psycopg.Error."""
    with psycopg.connect(
        dsn, autocommit=True, prepare_threshold=None, row_factory=dict_row
    ) as connection:
        overdue = threading.Timer(TIMEOUT_S, hang_up, [connection])
        overdue.daemon = True
        overdue.start()
        try:
            yield connection
        finally:
            overdue.cancel()


def first_line(error: Exception) -> str:
    """Of what libpq says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
