"""Statements that PostgreSQL knows by a name, so that they are parsed and planned once a connection
though they travel in one message with others.

Only the simple protocol carries several statements at a time, and it knows neither parameters nor
the driver's own prepared statements; `PREPARE` and `EXECUTE` in SQL do.
"""

import asyncio
import re
from functools import lru_cache
from hashlib import blake2b
from typing import LiteralString
from weakref import WeakKeyDictionary

import psycopg

from rcommerce.database.connection import Params, Raw

_PLACE = re.compile(r"%(?:\((\w+)\)s|%)")


class Prepared:
    """Which statements the connections to a server know."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Raw, set[str]] = WeakKeyDictionary()

    async def text(self, raw: Raw, sql: LiteralString, params: Params) -> str:
        """What runs the statement on this connection, its parameters written out."""
        name, prepare, execute = _parsed(sql)
        known = self._known.setdefault(raw, set())
        if name not in known:
            await _run(raw, prepare)
            known.add(name)
        return written_out(raw, execute, params)

    async def roll_back(self, raw: Raw) -> None:
        """Ends a transaction. After a rollback psycopg deallocates all prepared statements, where
        it has prepared any, and does not say so: here they are always deallocated."""
        self._known.pop(raw, None)
        await _run(raw, "rollback; deallocate all")


async def _run(raw: Raw, statement: str) -> None:
    try:
        await raw.execute(statement.encode(), prepare=False)
    except asyncio.CancelledError:
        raw.pgconn.finish()  # nobody knows which statements it has now
        raise


def written_out(raw: Raw, sql: str, params: Params) -> str:
    """The statement with its parameters in their places, as text."""
    return psycopg.AsyncClientCursor(raw).mogrify(sql.encode(), params)


@lru_cache(maxsize=1000)
def _parsed(sql: str) -> tuple[str, str, str]:
    """Its name, the statement that prepares it, and the one that executes it."""
    names: dict[str, int] = {}

    def number(place: re.Match[str]) -> str:
        name = place[1]
        return f"${names.setdefault(name, len(names) + 1)}" if name else "%"

    text = _PLACE.sub(number, sql)
    name = f"once_{blake2b(sql.encode(), digest_size=8).hexdigest()}"
    places = ", ".join(f"%({each})s" for each in names)
    return (
        name,
        f"prepare {name} as {text}",
        f"execute {name}({places})" if names else f"execute {name}",
    )
