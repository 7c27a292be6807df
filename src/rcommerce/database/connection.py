"""A connection for the shop's queries: a statement in, plain values out."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, LiteralString, NamedTuple, TypeVar, cast

import msgspec
import psycopg
from psycopg.adapt import Transformer
from psycopg.rows import AsyncRowFactory, class_row, dict_row, tuple_row
from psycopg.types.json import set_json_dumps, set_json_loads

from rcommerce import tracing

set_json_dumps(msgspec.json.encode)
set_json_loads(msgspec.json.decode)

T = TypeVar("T")


class Raw(psycopg.AsyncConnection[Any]):
    """psycopg's connection. `prepared` are the names of the statements that SQL's own PREPARE has
    prepared on it; `literal` writes a value out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared: set[str] = set()
        self.literal = Transformer(self).as_literal  # it keeps what it has looked up


def described(raw: Raw, sql: str) -> dict[str, Any]:
    """A statement for OpenTelemetry: without the values of its parameters."""
    return {
        "db.system.name": "postgresql",
        "db.namespace": raw.info.dbname,
        "server.address": raw.info.host,
        "server.port": raw.info.port,
        "db.query.text": sql,
    }


Params = Mapping[str, Any] | None


class Statement(NamedTuple):
    """A statement that is sent together with another: see `Shop.hold`."""

    sql: LiteralString
    params: Mapping[str, Any]


# Writes a statement with its parameters out, for a message with several statements.
Text = Callable[[Raw, LiteralString, Params], Awaitable[str]]


class Later:
    """The first row of a statement that `Connection.later` sends with the next one: None before."""

    __slots__ = ("row", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.row: Any = None


class Connection:
    """A PostgreSQL connection. Statements take named parameters only: `%(name)s`.

    Outside of a transaction each statement commits by itself. Nothing here leaves state in the
    session, so that a pooler in transaction mode can be in between.
    """

    __slots__ = ("_text", "_waiting", "raw")

    def __init__(self, raw: Raw, text: Text | None = None) -> None:
        self.raw = raw
        self._text = text
        self._waiting: list[Later] = []

    async def _run(
        self, sql: LiteralString, params: Params, rows: AsyncRowFactory[Any] | None = None
    ) -> psycopg.AsyncCursor[Any]:
        """The one place where a statement is sent."""
        raw = self.raw
        cursor = raw.cursor() if rows is None else raw.cursor(row_factory=rows)
        if self._waiting and self._text is not None:
            return await self.send(await self._text(raw, sql, params), cursor, sql)
        if not tracing.is_on():
            return await cursor.execute(sql, params)
        with tracing.span("postgresql", "CLIENT", described(raw, sql)):
            return await cursor.execute(sql, params)

    async def send(
        self, text: str, cursor: psycopg.AsyncCursor[Any], sql: str = ""
    ) -> psycopg.AsyncCursor[Any]:
        """Sends what waits, and `text` after it, in one message; the cursor is at its last result.
        `sql` is what a trace shows of it."""
        waiting, self._waiting = self._waiting, []
        texts = []
        for each in waiting:
            assert self._text is not None  # noqa: S101 - or nothing would wait
            texts.append(await self._text(self.raw, *each.statement))
        message = "; ".join([*texts, text]).encode()
        sent: AbstractContextManager[Any] = tracing.NOTHING
        if tracing.is_on() and (waiting or sql):
            shown = [each.statement.sql for each in waiting] + [sql] * bool(sql)
            sent = tracing.span("postgresql", "CLIENT", described(self.raw, "; ".join(shown)))
        with sent:
            await cursor.execute(message, prepare=False)
        rows, cursor.row_factory = cursor.row_factory, tuple_row
        for number, each in enumerate(waiting):
            await cursor.set_result(number)
            if cursor.description is not None:
                each.row = await cursor.fetchone()
        cursor.row_factory = rows
        await cursor.set_result(-1)
        return cursor

    async def execute(self, sql: LiteralString, params: Params = None) -> int:
        """Runs a statement; returns the number of affected rows."""
        return (await self._run(sql, params)).rowcount

    async def later(self, sql: LiteralString, params: Mapping[str, Any]) -> Later:
        """Runs a statement of a transaction whose result is not needed yet: it is sent with the
        next one, or with the commit, and costs no round trip. Its error is raised there, then.

        Behind a pooler, which would plan it each time, it is sent at once.
        """
        found = Later(Statement(sql, params))
        if self._text is None:
            cursor = await self._run(sql, params)
            if cursor.description is not None:
                found.row = await cursor.fetchone()
        else:
            self._waiting.append(found)
        return found

    async def one_or_none(self, sql: LiteralString, params: Params = None) -> Any:
        """The first row as a tuple, or None."""
        return await (await self._run(sql, params)).fetchone()

    async def one(self, sql: LiteralString, params: Params = None) -> Any:
        """The first row as a tuple. There must be one."""
        row = await self.one_or_none(sql, params)
        if row is None:
            raise LookupError("the statement returned no row")
        return row

    async def value(self, sql: LiteralString, params: Params = None) -> Any:
        """The first column of the first row, or None without a row."""
        row = await self.one_or_none(sql, params)
        return row and row[0]

    async def all(self, sql: LiteralString, params: Params = None) -> list[tuple[Any, ...]]:
        """Every row as a tuple."""
        return cast(list[tuple[Any, ...]], await (await self._run(sql, params)).fetchall())

    async def dicts(self, sql: LiteralString, params: Params = None) -> list[dict[str, Any]]:
        """Every row by the names of its columns."""
        return await (await self._run(sql, params, dict_row)).fetchall()

    async def records(self, kind: type[T], sql: LiteralString, params: Params = None) -> list[T]:
        """Every row as a `kind`, whose fields have the columns' names."""
        return await (await self._run(sql, params, class_row(kind))).fetchall()

    async def record(self, kind: type[T], sql: LiteralString, params: Params = None) -> T | None:
        """The first row as a `kind`, or None."""
        cursor = await self._run(sql, params, class_row(kind))
        return cast(T | None, await cursor.fetchone())

    async def raw_row(self, sql: LiteralString, params: Params = None) -> list[bytes] | None:
        """The first row as the bytes that PostgreSQL sent (empty for null), or None.

        JSON that PostgreSQL built is passed on this way, without being decoded.
        """
        result = (await self._run(sql, params)).pgresult
        if result is None or result.ntuples == 0:
            return None
        return [result.get_value(0, column) or b"" for column in range(result.nfields)]

    async def insert(self, table: LiteralString, values: Mapping[str, Any]) -> None:
        """Inserts a row. Table and columns come from the code, never from a client."""
        columns = ", ".join(values)
        places = ", ".join(f"%({name})s" for name in values)
        await self._run(f"insert into {table} ({columns}) values ({places})", values)  # noqa: S608

    async def insert_unless(
        self, table: LiteralString, values: Mapping[str, Any], conflict: LiteralString
    ) -> bool:
        """Inserts a row unless one exists with the same columns `conflict`: False then."""
        columns = ", ".join(values)
        places = ", ".join(f"%({name})s" for name in values)
        sql = f"insert into {table} ({columns}) values ({places})"  # noqa: S608
        cursor = await self._run(f"{sql} on conflict ({conflict}) do nothing", values)
        return cursor.rowcount == 1

    async def json_or_none(self, sql: LiteralString, params: Params = None) -> bytes | None:
        """The first column of the first row as bytes: JSON that PostgreSQL has built; or None."""
        result = (await self._run(sql, params)).pgresult
        if result is None or result.ntuples == 0:
            return None
        return result.get_value(0, 0)

    async def json(self, sql: LiteralString, params: Params = None) -> bytes:
        """As `json_or_none`, of a statement that always has a row."""
        body = await self.json_or_none(sql, params)
        if body is None:
            raise LookupError("the statement returned no JSON")
        return body
