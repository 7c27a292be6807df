"""PostgreSQL's logical replication of one tenant: publication and slot on the source, subscription
on the target. All three have the same name."""

import time
from dataclasses import dataclass
from uuid import UUID

from psycopg import sql

from rcommerce.database.moves import tables
from rcommerce.database.moves.tables import Sync
from rcommerce.errors import RCommerceError

READY = "r"  # pg_subscription_rel.srsubstate: copied, and in sync with the others


class ReplicationError(RCommerceError):
    """PostgreSQL has stopped copying or applying; the target's log says why."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Progress of the initial copy: which tables are done, and (rows, bytes) of those in
    progress."""

    ready: frozenset[str]
    of_tables: int
    under_way: dict[str, tuple[int, int]]


def name_of(tenant: UUID) -> str:
    """The name of a tenant's publication, slot and subscription."""
    return f"rcommerce_move_{tenant.hex}"


def publish(source: Sync, tenant: UUID) -> None:
    """Creates the publication of the tenant's rows, and the slot that keeps later changes."""
    name = sql.Identifier(name_of(tenant))
    filtered = sql.SQL(", ").join(
        sql.SQL("table only {} where (tenant_id = {})").format(
            sql.Identifier(table), sql.Literal(tenant)
        )
        for table in tables.owned(source)
    )
    source.execute(sql.SQL("create publication {} for {}").format(name, filtered))
    # Created here and not by the subscription: on a single server that would wait for itself.
    source.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (name_of(tenant),))


def subscribe(target: Sync, tenant: UUID, source_dsn: str) -> None:
    """Begins the copy."""
    name = sql.Identifier(name_of(tenant))
    target.execute(
        sql.SQL(
            "create subscription {} connection {} publication {} with (create_slot = false,"
            " slot_name = {}, copy_data = true, disable_on_error = true, streaming = on)"
        ).format(name, sql.Literal(source_dsn), name, sql.Literal(name_of(tenant)))
    )


def is_subscribed(target: Sync, tenant: UUID) -> bool:
    """Whether the copy has been begun and PostgreSQL has not stopped it."""
    row = target.execute(
        "select subenabled from pg_subscription where subname = %s"
        " and subdbid = (select oid from pg_database where datname = current_database())",
        (name_of(tenant),),
    ).fetchone()
    return row is not None and bool(row[0])


def copied(target: Sync, tenant: UUID) -> Copied:
    """The copy's progress. Raises ReplicationError."""
    if not is_subscribed(target, tenant):
        raise ReplicationError("PostgreSQL has given up the copy: see the target's log")
    states = target.execute(
        "select srrelid::regclass::text, srsubstate from pg_subscription_rel r"
        " join pg_subscription s on s.oid = r.srsubid where subname = %s",
        (name_of(tenant),),
    ).fetchall()
    under_way = target.execute(
        "select relid::regclass::text, tuples_processed, bytes_processed from pg_stat_progress_copy"
        " where datname = current_database()"
    ).fetchall()
    return Copied(
        frozenset(str(table) for table, state in states if state == READY),
        len(states),
        {str(table): (int(str(rows)), int(str(size))) for table, rows, size in under_way},
    )


def position(source: Sync) -> int:
    """The end of the source's write-ahead log, in bytes."""
    row = source.execute("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint").fetchone()
    return int(str(row[0])) if row else 0


def mark(server: Sync) -> int:
    """Makes everything committed so far durable; returns the log's end."""
    with server.transaction():
        server.execute("set local synchronous_commit = on")
        server.execute("select pg_logical_emit_message(true, 'rcommerce', 'mark')")
    row = server.execute("select (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint").fetchone()
    return int(str(row[0])) if row else 0


def confirmed(source: Sync, tenant: UUID) -> int:
    """The position up to which the target has applied the source's write-ahead log, in bytes.

    Raises ReplicationError if the slot is gone.
    """
    row = source.execute(
        "select (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint from pg_replication_slots"
        " where slot_name = %s",
        (name_of(tenant),),
    ).fetchone()
    if row is None or row[0] is None:
        raise ReplicationError("the replication slot on the source is gone")
    return int(str(row[0]))


def stop(target: Sync, tenant: UUID) -> None:
    """Drops the subscription, whatever its state; the slot is dropped on the source."""
    if target.execute(
        "select 1 from pg_subscription where subname = %s"
        " and subdbid = (select oid from pg_database where datname = current_database())",
        (name_of(tenant),),
    ).fetchone():
        name = sql.Identifier(name_of(tenant))
        target.execute(sql.SQL("alter subscription {} disable").format(name))
        target.execute(sql.SQL("alter subscription {} set (slot_name = none)").format(name))
        target.execute(sql.SQL("drop subscription {}").format(name))


def unpublish(source: Sync, tenant: UUID, timeout_s: float = 30.0) -> None:
    """Drops the publication and the slots, including those left by the copy of a table."""
    name = sql.Identifier(name_of(tenant))
    source.execute(sql.SQL("drop publication if exists {}").format(name))
    deadline = time.monotonic() + timeout_s
    while True:
        left = source.execute(
            "select slot_name, active_pid from pg_replication_slots where slot_name = %s",
            (name_of(tenant),),
        ).fetchall()
        if not left:
            return
        for slot, pid in left:
            if pid is None:
                source.execute("select pg_drop_replication_slot(%s)", (slot,))
            elif time.monotonic() > deadline:
                raise ReplicationError(f"the replication slot {slot} is still in use")
        time.sleep(0.05)
