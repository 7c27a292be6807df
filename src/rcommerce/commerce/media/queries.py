"""SQL of media."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.database import Connection, Jsonb

KEYS = (Key("t.created_at", "timestamptz"), Key("t.id", "uuid"))
_ROW = """json_build_object(
    'id', t.id,
    'url', %(media)s::text || '/' || media_path(t.tenant_id, t.hash, t.extension),
    'content_type', t.content_type,
    'filename', t.filename,
    'size_bytes', t.size_bytes,
    'width', t.width,
    'height', t.height,
    'is_processed', t.renditions is not null,
    'renditions', media_renditions(t.renditions, %(media)s),
    'created_at', rfc3339(t.created_at))"""


class Stored(msgspec.Struct, frozen=True):
    """An upload, as needed to find its file."""

    id: UUID
    path: str
    width: int | None
    height: int | None
    renditions: list[dict[str, Any]] | None

    @property
    def is_image(self) -> bool:
        """Whether it is an image."""
        return self.width is not None


async def one(conn: Connection, tenant: UUID, media: UUID, base: str) -> bytes | None:
    """An upload as JSON; URLs begin with `base`."""
    return await conn.json_or_none(
        f"""
        select json_build_object('media', {_ROW})
          from media t where (t.tenant_id, t.id) = (%(tenant)s, %(id)s)
        """,
        {"tenant": tenant, "id": media, "media": base},
    )


async def page(conn: Connection, tenant: UUID, window: Window, base: str) -> bytes:
    """A page of uploads as JSON, the newest first."""
    sql = list_sql(
        name="media",
        table="media",
        where="t.tenant_id = %(tenant)s",
        row=_ROW,
        keys=KEYS,
        descending=True,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, "media": base, **window.params()})


async def by_hash(conn: Connection, tenant: UUID, digest: bytes) -> UUID | None:
    """The upload with these bytes."""
    found: UUID | None = await conn.value(
        "select id from media where (tenant_id, hash) = (%(tenant)s, %(hash)s)",
        {"tenant": tenant, "hash": digest},
    )
    return found


async def stored(conn: Connection, tenant: UUID, media: UUID) -> Stored | None:
    """An upload, as needed to find its file."""
    return await conn.record(
        Stored,
        """
        select id, media_path(tenant_id, hash, extension) as path, width, height, renditions
          from media where (tenant_id, id) = (%(tenant)s, %(id)s)
        """,
        {"tenant": tenant, "id": media},
    )


async def lock_file(conn: Connection, tenant: UUID, digest: str) -> None:
    """Locks a file's hash (in hexadecimal) until the end of the transaction: nobody else adds or
    removes the file."""
    await conn.execute(
        "select pg_advisory_xact_lock(hashtextextended(%(tenant)s::text || %(hash)s, 0))",
        {"tenant": tenant, "hash": digest},
    )


async def known(conn: Connection, tenant: UUID, digests: Sequence[bytes]) -> set[bytes]:
    """Those of these hashes that belong to an upload."""
    rows = await conn.all(
        "select hash from media where tenant_id = %(tenant)s and hash = any(%(hashes)s)",
        {"tenant": tenant, "hashes": list(digests)},
    )
    return {row[0] for row in rows}


async def delete(conn: Connection, tenant: UUID, media: UUID) -> bytes | None:
    """Deletes an upload's row; returns its file's hash."""
    digest: bytes | None = await conn.value(
        "delete from media where (tenant_id, id) = (%(tenant)s, %(id)s) returning hash",
        {"tenant": tenant, "id": media},
    )
    return digest


async def set_renditions(
    conn: Connection, tenant: UUID, media: UUID, renditions: Sequence[dict[str, Any]]
) -> bool:
    """Stores the renditions; False if the upload was deleted."""
    return bool(
        await conn.execute(
            """
            update media set renditions = %(renditions)s
             where (tenant_id, id) = (%(tenant)s, %(id)s)
            """,
            {"tenant": tenant, "id": media, "renditions": Jsonb(list(renditions))},
        )
    )
