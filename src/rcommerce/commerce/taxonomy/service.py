"""The rules of collections and categories."""

from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct

from rcommerce import ids
from rcommerce.commerce import paging, slugs, versions
from rcommerce.commerce.catalog.service import READ, WRITE
from rcommerce.commerce.shop import Shop
from rcommerce.commerce.taxonomy import queries
from rcommerce.commerce.taxonomy.queries import Table
from rcommerce.commerce.taxonomy.schema import (
    CategoryChange,
    CollectionChange,
    NewCategory,
    NewCollection,
)
from rcommerce.database import Connection, translated
from rcommerce.errors import Conflict, Invalid, NotFound

_CONSTRAINTS = {
    "collection_tenant_id_slug_key": "slug",
    "category_tenant_id_slug_key": "slug",
    "category_tenant_id_parent_id_fkey": "parent_id",
    "collection_product_tenant_id_product_id_fkey": "product_ids",
}
# The cache tags of these responses; migration 0003 has what invalidates them.
_LISTS = {"collection": "collections", "category": "categories"}


async def one(shop: Shop, table: Table, key: str) -> tuple[str, bytes]:
    """Version and JSON of a collection or category, by id or slug. Raises NotFound."""
    if shop.sources is not None:
        shop.sources.show([_LISTS[table]])  # set for "not found", too
    async with shop.read() as conn:
        return await _one(conn, shop, table, key)


async def _one(conn: Connection, shop: Shop, table: Table, key: str) -> tuple[str, bytes]:
    by = "id" if ids.is_uuid(key) else "slug"
    hidden = shop.caller.may(READ)
    found = await queries.one(conn, table, shop.tenant.id, key, by=by, hidden=hidden)
    if found is None:
        raise NotFound(f"{table} not found")
    return found


async def collections(shop: Shop, page: int | None, per_page: int, cursor: str | None) -> bytes:
    """A page of collections as JSON; staff see inactive ones too."""
    window = paging.window(page, per_page, cursor, queries.COLLECTION_KEYS)
    async with shop.read() as conn:
        hidden = shop.caller.may(READ)
        body = await queries.collections(conn, shop.tenant.id, window, hidden=hidden)
    if shop.sources is not None:
        shop.sources.show(["collections"])
    return body


async def category_tree(shop: Shop) -> list[dict[str, Any]]:
    """The roots, each with its `children`, siblings in their order."""
    async with shop.read() as conn:
        rows = await queries.categories(conn, shop.tenant.id)
    if shop.sources is not None:
        shop.sources.show(["categories"])
    nodes: dict[UUID, dict[str, Any]] = {row["id"]: {**row, "children": []} for row in rows}
    roots: list[dict[str, Any]] = []
    for node in nodes.values():
        parent = nodes.get(node["parent_id"])
        (parent["children"] if parent else roots).append(node)
    return roots


async def create_collection(shop: Shop, new: NewCollection) -> tuple[str, bytes]:
    """Creates a collection. Raises Conflict, Unprocessable."""
    values = {
        "title": new.title,
        "description": new.description,
        "is_active": new.is_active,
        "position": new.position,
    }
    return await _create(shop, "collection", values, new.slug, new.title, new.product_ids)


async def create_category(shop: Shop, new: NewCategory) -> tuple[str, bytes]:
    """Creates a category. Raises Conflict, Unprocessable."""
    values = {
        "name": new.name,
        "description": new.description,
        "parent_id": new.parent_id,
        "position": new.position,
    }
    return await _create(shop, "category", values, new.slug, new.name, [])


async def _create(
    shop: Shop,
    table: Table,
    values: dict[str, Any],
    slug: str | None,
    title: str,
    products: list[UUID],
) -> tuple[str, bytes]:
    shop.caller.require(WRITE)
    row = ids.new_id()
    values |= {"tenant_id": shop.tenant.id, "id": row}
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            await slugs.insert(tx, table, values, slug, title)
            if products:
                await queries.set_products(tx, shop.tenant.id, row, list(dict.fromkeys(products)))
            return await _one(tx, shop, table, str(row))


async def change_collection(
    shop: Shop, row: UUID, data: CollectionChange, if_match: str | None
) -> tuple[str, bytes]:
    """Changes a collection. Raises NotFound, PreconditionFailed, Conflict, Unprocessable."""
    values = _given(data)
    products = values.pop("product_ids", None)
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            await _begin(tx, shop, "collection", row, if_match)
            await queries.update(tx, "collection", shop.tenant.id, row, values)
            if products is not None:
                await queries.set_products(tx, shop.tenant.id, row, list(dict.fromkeys(products)))
            return await _one(tx, shop, "collection", str(row))


async def change_category(
    shop: Shop, row: UUID, data: CategoryChange, if_match: str | None
) -> tuple[str, bytes]:
    """Changes a category. Raises NotFound, PreconditionFailed, Conflict, Invalid."""
    values = _given(data)
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            await queries.lock_tree(tx, shop.tenant.id)
            await _begin(tx, shop, "category", row, if_match)
            parent = values.get("parent_id")
            if parent and await queries.is_below(tx, shop.tenant.id, parent, row):
                raise Invalid.field("parent_id", "would make the category its own ancestor")
            await queries.update(tx, "category", shop.tenant.id, row, values)
            return await _one(tx, shop, "category", str(row))


async def delete(shop: Shop, table: Table, row: UUID, if_match: str | None) -> None:
    """Deletes a collection, or a category without children. Raises NotFound, Conflict."""
    async with shop.write() as tx:
        if table == "category":
            await queries.lock_tree(tx, shop.tenant.id)
        await _begin(tx, shop, table, row, if_match)
        if table == "category" and await queries.has_children(tx, shop.tenant.id, row):
            raise Conflict("the category has subcategories", code="category_not_empty")
        await queries.delete(tx, table, shop.tenant.id, row)


async def _begin(tx: Connection, shop: Shop, table: Table, row: UUID, if_match: str | None) -> None:
    shop.caller.require(WRITE)
    version = await queries.lock(tx, table, shop.tenant.id, row)
    if version is None:
        raise NotFound(f"{table} not found")
    versions.check(if_match, version, f"the {table}")


def _given(data: Struct) -> dict[str, Any]:
    values = {name: getattr(data, name) for name in data.__struct_fields__}
    given = {name: value for name, value in values.items() if value is not UNSET}
    if "slug" in given:
        slugs.checked(given["slug"])
    return given
