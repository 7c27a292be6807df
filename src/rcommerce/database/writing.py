"""Writes: a transaction on a primary, which begins by checking that the tenant is on this shard."""

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, LiteralString

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import AsyncRowFactory

from rcommerce import tracing
from rcommerce.database import prepared
from rcommerce.database.assignment import ShardAssignment, TenantFenced, TenantMoved
from rcommerce.database.connection import Connection, Params, Raw, Statement, described
from rcommerce.database.server import Server, is_lost, translated
from rcommerce.errors import RCommerceError

ATTEMPTS = 3  # attempts to begin on a broken connection; nothing has been done by then
# Taken after the commit, so it is never too low; only where something depends on it.
POSITION: LiteralString = """
select ((case when current_setting('synchronous_commit') = 'off'
              then pg_current_wal_insert_lsn() else pg_current_wal_flush_lsn() end)
        - '0/0'::pg_lsn)::bigint
"""


Wrote = Callable[[int], None]


class Writing:
    """`async with` gives a Connection in a transaction. `position` is the position of the commit in
    the write-ahead log, with which `wrote` is called; 0 if nobody needs it.

    The statements `first` are sent with the begin: they cost no round trip. `rows` has the first
    row of each, or None.
    """

    __slots__ = ("_assignment", "_connection", "_first", "_server", "_wrote", "position", "rows")

    def __init__(
        self,
        server: Server,
        assignment: ShardAssignment | None,
        wrote: Wrote | None,
        first: Sequence[Statement] = (),
    ) -> None:
        self.position = 0
        self.rows: list[tuple[Any, ...] | None] = []
        self._first = first
        self._wrote = wrote
        self._server = server
        self._assignment = assignment

    async def __aenter__(self) -> Connection:
        for attempt in range(1, ATTEMPTS + 1):
            raw = await self._server.take()
            try:
                await self._begin(raw)
            except psycopg.Error as error:
                await _undo(self._server, raw, error)
                self._server.give(raw)
                if is_lost(error) and attempt < ATTEMPTS and self._may_retry():
                    continue
                raise _sense(error, self._assignment) from error
            except BaseException:
                self._server.give(raw)
                raise
            text = None if self._server.through_pooler else prepared.text
            self._connection = Connection(raw, text)
            return self._connection
        raise self._server.unavailable()

    async def _begin(self, raw: Raw) -> None:
        texts = [_begin(self._assignment)]
        if not self._first:
            await raw.execute(texts[0].encode(), prepare=False)
            return
        # Behind a pooler, which would plan them each time, all but the first are sent alone.
        together = self._first[: 1 if self._server.through_pooler else None]
        texts += [await _text(self._server, raw, *each) for each in together]
        cursor = raw.cursor()
        reported = None
        if tracing.is_on():
            reported = described(raw, "; ".join(each.sql for each in together))
        with tracing.span("postgresql", "CLIENT", reported):
            await cursor.execute("; ".join(texts).encode(), prepare=False)
        self.rows = []
        for number in range(-len(together), 0):
            await cursor.set_result(number)
            self.rows.append(await cursor.fetchone())
        for each in self._first[len(together) :]:
            self.rows.append(await Connection(raw).one_or_none(*each))

    def _may_retry(self) -> bool:
        return self._server.is_up and self._server.retries.spend()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raw = self._connection.raw
        try:
            if error is None:
                await self._commit(raw)
            elif raw.pgconn.transaction_status in (
                TransactionStatus.INTRANS,
                TransactionStatus.INERROR,
            ):
                await _roll_back(self._server, raw)
        except psycopg.Error as failed:
            if error is None:
                error = failed
            if raw.pgconn.transaction_status == TransactionStatus.INERROR:
                with contextlib.suppress(psycopg.OperationalError):
                    await _roll_back(self._server, raw)
        finally:
            is_gone = raw.pgconn.transaction_status == TransactionStatus.UNKNOWN
            self._server.give(raw)
        if is_gone:
            await self._server.check(str(error))
        if isinstance(error, psycopg.Error):
            unavailable = translated(error)
            if unavailable is not None:
                raise unavailable from error
            if kind is None:
                raise error

    async def _commit(self, raw: Raw) -> None:
        if raw.pgconn.transaction_status == TransactionStatus.INERROR:
            # The block went on after a database error; a commit would silently roll its work back.
            await _roll_back(self._server, raw)
            raise RCommerceError("the transaction had failed before its end")
        commit = "commit" if self._wrote is None else f"commit; {POSITION}"
        cursor = await self._connection.send(commit, raw.cursor())
        if self._wrote is None:
            return
        row = await cursor.fetchone()
        self.position = row[0] if row else 0
        self._wrote(self.position)


async def once(
    server: Server,
    assignment: ShardAssignment | None,
    sql: LiteralString,
    params: Params,
    rows: AsyncRowFactory[Any] | None,
    wrote: Wrote | None,
    *,
    is_durable: bool = True,
) -> tuple[psycopg.AsyncCursor[Any], int]:
    """A transaction of one statement, see Shard.once."""
    position = 0
    raw = await server.take()
    try:
        text = await _text(server, raw, sql, params)
        after = "; commit" if wrote is None else f"; commit; {POSITION}"
        cursor = raw.cursor() if rows is None else raw.cursor(row_factory=rows)
        with tracing.span("postgresql", "CLIENT", described(raw, sql) if tracing.is_on() else None):
            begin = _begin(assignment, is_durable=is_durable)
            await cursor.execute(f"{begin}; {text}{after}".encode(), prepare=False)
        if wrote is not None:
            await cursor.set_result(-1)
            row = cursor.pgresult
            position = int(row.get_value(0, 0) or 0) if row is not None else 0
            wrote(position)
        await cursor.set_result(1 if assignment is None else 2)
    except psycopg.Error as error:
        await _undo(server, raw, error)
        raise _sense(error, assignment) from error
    finally:
        server.give(raw)
    return cursor, position


async def _text(server: Server, raw: Raw, sql: LiteralString, params: Params) -> str:
    """A statement with its parameters written out, to be sent with others."""
    if server.through_pooler:
        return prepared.written_out(raw, sql, params)
    return await prepared.text(raw, sql, params)


def _begin(assignment: ShardAssignment | None, *, is_durable: bool = True) -> str:
    """Begins, and checks in the same message that the tenant is on this shard. The simple protocol
    takes several statements, and no parameters: they are a UUID and a number."""
    if assignment is None:
        return "begin read write"
    begin = f"begin read write; select enter_tenant('{assignment.tenant_id}', {assignment.epoch:d})"
    return begin if is_durable else f"{begin}, set_config('synchronous_commit', 'off', true)"


async def _undo(server: Server, raw: Raw, error: psycopg.Error) -> None:
    """After a failure: closes what is open, and marks a failed server as down."""
    if raw.pgconn.transaction_status == TransactionStatus.INERROR:
        with contextlib.suppress(psycopg.OperationalError):
            await _roll_back(server, raw)
    if is_lost(error):
        await server.check(str(error))


async def _roll_back(server: Server, raw: Raw) -> None:
    if server.through_pooler:
        await raw.execute("rollback", prepare=False)
    else:
        await prepared.roll_back(raw)


def _sense(error: psycopg.Error, assignment: ShardAssignment | None) -> Exception:
    """The meaning of an error at the beginning of a write, or of a single statement."""
    if assignment is not None and error.sqlstate == "RC002":
        return TenantFenced()
    if assignment is not None and error.sqlstate == "RC001":
        shard, epoch = error.diag.message_detail, error.diag.message_hint
        return TenantMoved(
            ShardAssignment(assignment.tenant_id, shard, int(epoch)) if shard and epoch else None
        )
    return translated(error) or error
