"""SQL of collections and of the category tree."""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.database import Connection

Table = Literal["collection", "category"]

_COLLECTION = """json_build_object(
    'id', t.id, 'title', t.title, 'slug', t.slug, 'description', t.description,
    'is_active', t.is_active, 'position', t.position,
    'created_at', rfc3339(t.created_at), 'updated_at', rfc3339(t.updated_at))"""
_CATEGORY = """json_build_object(
    'id', t.id, 'parent_id', t.parent_id, 'name', t.name, 'slug', t.slug,
    'description', t.description, 'position', t.position,
    'created_at', rfc3339(t.created_at), 'updated_at', rfc3339(t.updated_at))"""
_JSON = {"collection": _COLLECTION, "category": _CATEGORY}
COLLECTION_KEYS = (Key("t.position", "int"), Key("t.title", "text"), Key("t.id", "uuid"))


async def one(
    conn: Connection, table: Table, tenant: UUID, key: str, *, by: str, hidden: bool
) -> tuple[str, bytes] | None:
    """Version and JSON, `by` its "id" or "slug"; inactive ones only if `hidden`."""
    which = "t.id = %(key)s::uuid" if by == "id" else "t.slug = %(key)s"
    if table == "collection" and not hidden:
        which += " and t.is_active"
    row = await conn.raw_row(
        f"""
        select t.version::text, json_build_object('{table}', {_JSON[table]})
          from {table} t where t.tenant_id = %(tenant)s and {which}
        """,
        {"tenant": tenant, "key": key},
    )
    return (row[0].decode(), row[1]) if row else None


async def collections(conn: Connection, tenant: UUID, window: Window, *, hidden: bool) -> bytes:
    """A page of collections as JSON."""
    sql = list_sql(
        name="collections",
        table="collection",
        where="t.tenant_id = %(tenant)s" + ("" if hidden else " and t.is_active"),
        row=_COLLECTION,
        keys=COLLECTION_KEYS,
        descending=False,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, **window.params()})


async def categories(conn: Connection, tenant: UUID) -> list[dict[str, Any]]:
    """Every category of the tenant, siblings in their order."""
    return await conn.dicts(
        """
        select id, parent_id, name, slug, description, position from category
         where tenant_id = %(tenant)s order by position, name, id
        """,
        {"tenant": tenant},
    )


async def lock(conn: Connection, table: Table, tenant: UUID, row: UUID) -> int | None:
    """The version of a row that this transaction locks; None if there is none."""
    version: int | None = await conn.value(
        f"select version from {table} where (tenant_id, id) = (%(tenant)s, %(row)s) for update",
        {"tenant": tenant, "row": row},
    )
    return version


async def lock_tree(conn: Connection, tenant: UUID) -> None:
    """Locks the tenant's category tree until the end of the transaction."""
    await conn.execute(
        "select pg_advisory_xact_lock(hashtextextended('category:' || %(tenant)s::text, 0))",
        {"tenant": tenant},
    )


async def is_below(conn: Connection, tenant: UUID, node: UUID, above: UUID) -> bool:
    """Whether `node` is `above` or one of its descendants."""
    return bool(
        await conn.value(
            """
            with recursive path as (
                select id, parent_id from category
                 where (tenant_id, id) = (%(tenant)s, %(node)s)
                union
                select c.id, c.parent_id from path
                  join category c on (c.tenant_id, c.id) = (%(tenant)s, path.parent_id)
            )
            select true from path where id = %(above)s
            """,
            {"tenant": tenant, "node": node, "above": above},
        )
    )


async def has_children(conn: Connection, tenant: UUID, node: UUID) -> bool:
    """Whether a category has children."""
    return bool(
        await conn.value(
            """
            select true from category where (tenant_id, parent_id) = (%(tenant)s, %(node)s) limit 1
            """,
            {"tenant": tenant, "node": node},
        )
    )


async def update(
    conn: Connection, table: Table, tenant: UUID, row: UUID, values: Mapping[str, Any]
) -> None:
    """Sets columns, and increments the version."""
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    await conn.execute(
        f"""
        update {table} set {assignments} version = version + 1, updated_at = now()
         where (tenant_id, id) = (%(_tenant)s, %(_row)s)
        """,
        {**values, "_tenant": tenant, "_row": row},
    )


async def delete(conn: Connection, table: Table, tenant: UUID, row: UUID) -> bool:
    """Deletes a row."""
    return bool(
        await conn.execute(
            f"delete from {table} where (tenant_id, id) = (%(tenant)s, %(row)s)",
            {"tenant": tenant, "row": row},
        )
    )


async def set_products(
    conn: Connection, tenant: UUID, collection: UUID, products: list[UUID]
) -> None:
    """Replaces a collection's products by these, in this order."""
    await conn.execute(
        """
        with gone as (
            delete from collection_product
             where (tenant_id, collection_id) = (%(tenant)s, %(collection)s)
               and product_id <> all(%(products)s::uuid[])
        )
        insert into collection_product (tenant_id, collection_id, product_id, position)
        select %(tenant)s, %(collection)s, w.id, w.position
          from unnest(%(products)s::uuid[]) with ordinality as w (id, position)
         order by w.id
        on conflict (tenant_id, collection_id, product_id)
        do update set position = excluded.position
        """,
        {"tenant": tenant, "collection": collection, "products": products},
    )
