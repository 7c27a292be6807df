"""The two shards of a move: connections to them, and their state of the tenant."""

import contextlib
from collections.abc import Iterator
from typing import LiteralString
from uuid import UUID

import psycopg

from rcommerce.database.moves import replication, tables
from rcommerce.database.moves.plan import MoveError
from rcommerce.database.moves.tables import Sync


def alone(control: Sync, tenant: UUID) -> None:
    """Raises MoveError if another process is moving this tenant."""
    # Another key than the writes': the control database may be the source shard.
    if not value(control, "select pg_try_advisory_lock(uuid_hash_extended(%s, 7263))", tenant):
        raise MoveError("another process is moving this tenant now")


def state(shard: Sync, tenant: UUID) -> tuple[str | None, str | None, int]:
    """(state, where it has moved to, epoch) on the shard; (None, None, 0) if it does not know
    it."""
    row = shard.execute(
        "select state, moved_to, epoch from tenant_placement where tenant_id = %s", (tenant,)
    ).fetchone()
    if row is None:
        return None, None, 0
    return str(row[0]), str(row[1]) if row[1] else None, int(str(row[2]))


def unfence(source: Sync, tenant: UUID) -> None:
    """Lets writes go on."""
    source.execute(
        "update tenant_placement set state = 'active', fenced_until = null"
        " where tenant_id = %s and state = 'fenced'",
        (tenant,),
    )


def withdraw(source: Sync, target: Sync, tenant: UUID) -> None:
    """Removes what a failed attempt has left. The tenant is on the source: its rows on the target
    are copies."""
    if state(source, tenant)[0] not in ("active", "fenced"):
        raise MoveError("the tenant does not live on the source: nothing is cleared")
    replication.stop(target, tenant)
    replication.unpublish(source, tenant)
    target.execute("delete from tenant_placement where tenant_id = %s", (tenant,))
    tables.clear(target, tenant)


def limit_lock(connection: Sync, seconds: float) -> None:
    """Sets the lock timeout of this transaction."""
    milliseconds = max(1, int(seconds * 1000))
    connection.execute("select set_config('lock_timeout', %s, true)", (f"{milliseconds}ms",))


@contextlib.contextmanager
def untimed(source: Sync) -> Iterator[None]:
    """Removes the timeout for the copy of a large table: the role's own, set for sessions behind a
    pooler, would end it."""
    row = source.execute(
        """
        select setting from pg_db_role_setting, unnest(setconfig) as setting
         where setrole = current_user::regrole and setting like 'statement_timeout=%'
           and setdatabase = (select oid from pg_database where datname = current_database())
        """
    ).fetchone()
    if row is None:
        yield
        return
    statement = psycopg.sql.SQL("alter role current_user in database {} set statement_timeout = {}")
    database = psycopg.sql.Identifier(source.info.dbname)
    source.execute(statement.format(database, psycopg.sql.Literal("0")))
    try:
        yield
    finally:
        before = str(row[0]).partition("=")[2]
        source.execute(statement.format(database, psycopg.sql.Literal(before)))


def value(connection: Sync, statement: LiteralString, *params: object) -> object:
    """The first column of the first row."""
    row = connection.execute(statement, params or None).fetchone()
    return row[0] if row else None


@contextlib.contextmanager
def connect(dsn: str) -> Iterator[Sync]:
    """A connection without the timeouts of requests. Raises MoveError."""
    options = "-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0"
    try:
        connection = psycopg.connect(dsn, autocommit=True, options=options)
    except psycopg.OperationalError as error:
        raise MoveError(f"a database cannot be reached: {str(error).strip()}") from error
    with connection:
        yield connection
