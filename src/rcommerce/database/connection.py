"""A connection for the shop's queries: a statement in, plain values out."""

from collections.abc import Mapping
from typing import Any, LiteralString, NamedTuple, TypeVar, cast

import msgspec
import psycopg
from psycopg.rows import AsyncRowFactory, class_row, dict_row
from psycopg.types.json import set_json_dumps, set_json_loads

from rcommerce import tracing

set_json_dumps(msgspec.json.encode)
set_json_loads(msgspec.json.decode)

T = TypeVar("T")


def described(raw: "Raw", sql: str) -> dict[str, Any]:
    """A statement for OpenTelemetry: without the values of its parameters."""
    return {
        "db.system.name": "postgresql",
        "db.namespace": raw.info.dbname,
        "server.address": raw.info.host,
        "server.port": raw.info.port,
        "db.query.text": sql,
    }


Raw = psycopg.AsyncConnection[Any]
Params = Mapping[str, Any] | None


class Statement(NamedTuple):
    """A statement that is sent together with another: see `Shop.hold`."""

    sql: LiteralString
    params: Mapping[str, Any]


class Connection:
    """A PostgreSQL connection. Statements take named parameters only: `%(name)s`.

    Outside of a transaction each statement commits by itself. Nothing here leaves state in the
    session, so that a pooler in transaction mode can be in between.
    """

    __slots__ = ("_defers", "last", "raw")

    def __init__(self, raw: Raw, *, defers: bool = False) -> None:
        self.raw = raw
        self.last: Statement | None = None  # to be sent with the commit
        self._defers = defers

    async def _run(
        self, sql: LiteralString, params: Params, rows: AsyncRowFactory[Any] | None = None
    ) -> psycopg.AsyncCursor[Any]:
        """The one place where a statement is sent."""
        if self.last is not None:
            before, self.last = self.last, None
            await self._run(*before)
        raw = self.raw
        cursor = raw.cursor() if rows is None else raw.cursor(row_factory=rows)
        if not tracing.is_on():
            return await cursor.execute(sql, params)
        with tracing.span("postgresql", "CLIENT", described(raw, sql)):
            return await cursor.execute(sql, params)

    async def execute(self, sql: LiteralString, params: Params = None) -> int:
        """Runs a statement; returns the number of affected rows."""
        return (await self._run(sql, params)).rowcount

    async def finish(self, sql: LiteralString, params: Mapping[str, Any]) -> None:
        """Runs a statement whose result nobody needs. If it is the last one of a transaction it is
        sent with the commit, and costs no round trip; its error is raised there, then."""
        if not self._defers:
            await self._run(sql, params)
            return
        if self.last is not None:
            await self._run(*self.last)
        self.last = Statement(sql, params)

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
