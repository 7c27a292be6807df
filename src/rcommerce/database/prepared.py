"""Prepared statements that are sent in one message with others: parsed and planned once per
connection.

Only the simple protocol carries several statements per message, and it knows neither parameters nor
the driver's own prepared statements; SQL's `PREPARE` and `EXECUTE` work.
"""

import asyncio
import re
from functools import lru_cache
from hashlib import blake2b
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from rcommerce.database.connection import Params, Raw

_PLACE = re.compile(r"%(?:\((\w+)\)s|%)")


async def text(raw: Raw, sql: LiteralString, params: Params) -> str:
    """SQL that runs the statement on this connection, with its parameters written out."""
    name, prepare, places = _parsed(sql)
    if name not in raw.prepared:
        await _run(raw, prepare)
        raw.prepared.add(name)
    if not places or params is None:
        return f"execute {name}"
    values = ", ".join([_literal(raw, params[each]) for each in places])
    return f"execute {name}({values})"


def _literal(raw: Raw, value: Any) -> str:
    """A value as SQL. psycopg can do it with all; most are of a few kinds that need no escapes."""
    kind = type(value)
    if kind is UUID:
        return f"'{value}'"
    if kind is str and value.isprintable() and "'" not in value and "\\" not in value:
        return f"'{value}'"
    if kind is int:
        return str(value)
    if value is None:
        return "NULL"
    return raw.literal(value).decode()


async def roll_back(raw: Raw) -> None:
    """Ends a transaction. After a rollback psycopg deallocates all prepared statements if it has
    prepared any itself, without saying so: here they are always deallocated."""
    raw.prepared.clear()
    await _run(raw, "rollback; deallocate all")


async def _run(raw: Raw, statement: str) -> None:
    try:
        await raw.execute(statement.encode(), prepare=False)
    except asyncio.CancelledError:
        raw.pgconn.finish()  # its prepared statements are unknown now
        raise


def written_out(raw: Raw, sql: str, params: Params) -> str:
    """The statement with its parameters written out."""
    return psycopg.AsyncClientCursor(raw).mogrify(sql.encode(), params)


@lru_cache(maxsize=1000)
def _parsed(sql: str) -> tuple[str, str, list[str]]:
    """Its name, its PREPARE, and the names of its parameters."""
    names: dict[str, int] = {}

    def number(place: re.Match[str]) -> str:
        name = place[1]
        return f"${names.setdefault(name, len(names) + 1)}" if name else "%"

    text = _PLACE.sub(number, sql)
    name = f"once_{blake2b(sql.encode(), digest_size=8).hexdigest()}"
    return name, f"prepare {name} as {text}", list(names)
