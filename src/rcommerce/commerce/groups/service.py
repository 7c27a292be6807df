"""The rules of customer groups, which prices and promotions can be for."""

from uuid import UUID

from msgspec import UNSET, structs

from rcommerce import ids
from rcommerce.commerce import paging, versions
from rcommerce.commerce.groups import queries
from rcommerce.commerce.groups.schema import GroupChange, NewGroup
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection, held_by, translated
from rcommerce.errors import NotFound

READ = "customers:read"
WRITE = "customers:write"
_CONSTRAINTS = {
    "customer_group_tenant_id_name_key": "name",
    "customer_group_member_tenant_id_customer_id_fkey": "customer_id",
}
_KEPT = {"price_list_group_tenant_id_group_id_fkey": "there are price lists for the group"}


async def one(shop: Shop, group: UUID) -> tuple[str, bytes]:
    """Version and JSON of a group. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        return await _one(conn, shop, group)


async def _one(conn: Connection, shop: Shop, group: UUID) -> tuple[str, bytes]:
    found = await queries.one(conn, shop.tenant.id, group)
    if found is None:
        raise NotFound("customer group not found")
    return found


async def everything(shop: Shop, page: int | None, per_page: int, cursor: str | None) -> bytes:
    """A page of groups as JSON, newest first. Raises Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.KEYS)
    async with shop.read() as conn:
        return await queries.page(conn, shop.tenant.id, window)


async def create(shop: Shop, new: NewGroup) -> tuple[str, bytes]:
    """A new group: its version and JSON. Raises Conflict."""
    shop.caller.require(WRITE)
    group = ids.new_id()
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            key = {"tenant_id": shop.tenant.id, "id": group}
            await tx.insert("customer_group", {**key, **structs.asdict(new)})
            return await _one(tx, shop, group)


async def change(
    shop: Shop, group: UUID, data: GroupChange, if_match: str | None
) -> tuple[str, bytes]:
    """Changes a group. Raises NotFound, PreconditionFailed, Conflict."""
    given = {name: value for name, value in structs.asdict(data).items() if value is not UNSET}
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            await _begin(tx, shop, group, if_match)
            await queries.update(tx, shop.tenant.id, group, given)
            return await _one(tx, shop, group)


async def delete(shop: Shop, group: UUID, if_match: str | None) -> None:
    """Deletes a group; its customers stay. Raises NotFound, PreconditionFailed, Conflict."""
    with held_by(_KEPT, "group_in_use"):
        async with shop.write() as tx:
            await _begin(tx, shop, group, if_match)
            await queries.delete(tx, shop.tenant.id, group)


async def _begin(tx: Connection, shop: Shop, group: UUID, if_match: str | None) -> None:
    shop.caller.require(WRITE)
    version = await queries.lock(tx, shop.tenant.id, group)
    if version is None:
        raise NotFound("customer group not found")
    versions.check(if_match, version, "the customer group")


async def members(
    shop: Shop, group: UUID, page: int | None, per_page: int, cursor: str | None
) -> bytes:
    """A page of a group's customers as JSON. Raises NotFound, Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.MEMBER_KEYS)
    async with shop.read() as conn:
        await _one(conn, shop, group)
        return await queries.member_page(conn, shop.tenant.id, group, window)


async def add(shop: Shop, group: UUID, customer: UUID) -> None:
    """Puts a customer into a group. Raises NotFound, Unprocessable."""
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            await _begin(tx, shop, group, None)
            await queries.add(tx, shop.tenant.id, group, customer)


async def remove(shop: Shop, group: UUID, customer: UUID) -> None:
    """Takes a customer out of a group. Raises NotFound."""
    async with shop.write() as tx:
        await _begin(tx, shop, group, None)
        if not await queries.remove(tx, shop.tenant.id, group, customer):
            raise NotFound("the customer is not in this group")


async def of_customer(conn: Connection, shop: Shop, customer: UUID) -> frozenset[UUID]:
    """The groups that a customer is in."""
    return frozenset(await queries.of_customer(conn, shop.tenant.id, customer))
