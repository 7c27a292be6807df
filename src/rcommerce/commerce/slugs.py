"""Slugs: the readable part of a URL, unique within its table and tenant."""

import re
import secrets
import unicodedata
from typing import Any, Literal
from uuid import UUID

from anyascii import anyascii

from rcommerce import ids
from rcommerce.database import Connection
from rcommerce.errors import Conflict, Invalid

LONGEST = 255
MOST = 100  # rows of one title that are numbered
ROOM = 9  # characters for a hyphen and its suffix
ATTEMPTS = 5  # to find a number that nobody else takes at the same moment
Table = Literal["product", "collection", "category"]
_QUOTES = re.compile(r"['’‘ʼ`´]")


def slug_of(title: str, otherwise: str) -> str:
    """The slug of a title: its letters and digits in lower case, joined by hyphens. Latin letters
    lose their accents (“Điện thoại” is dien-thoai, “Straße” strasse); other scripts are kept, since
    a transliteration would read wrongly. A title without letters and digits becomes `otherwise`
    with a random suffix, and one that could be taken for an id gets it as a prefix."""
    plain = "".join(map(_plain, unicodedata.normalize("NFC", _QUOTES.sub("", title))))
    slug = re.sub(r"[\W_]+", "-", plain.lower()).strip("-")[:LONGEST].rstrip("-")
    if not slug or ids.is_uuid(slug):
        return f"{otherwise}-{slug or secrets.token_hex(4)}"
    return slug


def _plain(letter: str) -> str:
    """A Latin letter in ASCII; any other character as it is."""
    if letter.isascii() or not unicodedata.name(letter, "").startswith("LATIN "):
        return letter
    return str(anyascii(letter))


def checked(slug: str) -> str:
    """The slug. Raises Invalid if it could be taken for an id."""
    if ids.is_uuid(slug):
        raise Invalid.field("slug", "must not look like an id")
    return slug


async def insert(
    tx: Connection, table: Table, values: dict[str, Any], asked: str | None, title: str
) -> None:
    """Inserts a row with the requested slug, otherwise with the first free one of x, x-2, x-3 …, x
    being the title's. Raises Invalid; Conflict by the table's constraint if the requested slug is
    in use."""
    if asked is not None:
        await tx.insert(table, {**values, "slug": checked(asked)})
        return
    slug = base = slug_of(title, table)
    for _ in range(ATTEMPTS):
        if await tx.insert_unless(table, {**values, "slug": slug}, "tenant_id, slug"):
            return
        slug = await _free(tx, table, values["tenant_id"], base[: LONGEST - ROOM])
    raise Conflict("slug: concurrent requests use this title; try again")


async def _free(tx: Connection, table: Table, tenant: UUID, base: str) -> str:
    """The base with the lowest free number, or a random suffix if all are taken. Transactions run
    one after another here: each sees what the one before has taken."""
    await tx.execute(
        "select pg_advisory_xact_lock(hashtextextended(%(name)s, 0))",
        {"name": f"slug {table} {tenant} {base}"},
    )
    number = await tx.value(
        f"""
        select n from generate_series(2, %(most)s) n
         where not exists (
               select from {table} where (tenant_id, slug) = (%(tenant)s, %(base)s || '-' || n))
         order by n limit 1
        """,  # noqa: S608 - one of three words of ours
        {"tenant": tenant, "base": base, "most": MOST},
    )
    return f"{base}-{number or secrets.token_hex(4)}"
