"""Prepared statements that are sent in one message with others: parsed and planned once per
connection.

Only the simple protocol carries several statements per message, and it knows neither parameters nor
the driver's own prepared statements; SQL's `PREPARE` and `EXECUTE` work.
"""

import asyncio
import re
from functools import lru_cache
from hashlib import blake2b
from typing import LiteralString
from weakref import WeakKeyDictionary

import psycopg
from psycopg.adapt import Transformer

from rcommerce.database.connection import Params, Raw

_PLACE = re.compile(r"%(?:\((\w+)\)s|%)")


class Prepared:
    """The statements that the connections to a server have prepared."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Raw, set[str]] = WeakKeyDictionary()

    async def text(self, raw: Raw, sql: LiteralString, params: Params) -> str:
        """SQL that runs the statement on this connection, with its parameters written out."""
        name, prepare, places = _parsed(sql)
        known = self._known.setdefault(raw, set())
        if name not in known:
            await _run(raw, prepare)
            known.add(name)
        if not places or params is None:
            return f"execute {name}"
        literal = Transformer(raw).as_literal
        values = b", ".join(
            [b"NULL" if (value := params[each]) is None else literal(value) for each in places]
        )
        return f"execute {name}({values.decode()})"

    async def roll_back(self, raw: Raw) -> None:
        """Ends a transaction. After a rollback psycopg deallocates all prepared statements if it
        has prepared any itself, without saying so: here they are always deallocated."""
        self._known.pop(raw, None)
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
