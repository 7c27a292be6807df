"""The rules of channels: where products are sold, in which currency, and which of them."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec import UNSET, structs

from rcommerce import ids, money
from rcommerce.commerce import paging, versions
from rcommerce.commerce.channels import queries
from rcommerce.commerce.channels.schema import Availability, Channel, ChannelChange, NewChannel
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection, held_by, translated
from rcommerce.errors import Conflict, Invalid, NotFound

READ = "products:read"
WRITE = "products:write"
TAG = "channels"  # of what depends on channels, price lists or exchange rates
_CONSTRAINTS = {
    "channel_tenant_id_slug_key": "slug",
    "channel_product_tenant_id_product_id_fkey": "product_id",
    "channel_location_tenant_id_location_id_fkey": "locations",
}
_KEPT = {
    "cart_channel_fkey": "there are carts in the channel: deactivate it, and make another one",
    "price_list_channel_tenant_id_channel_id_currency_fkey": "there are price lists for the channel"
    ": take it out of them first",
}
IN_USE = "channel_in_use"


async def requested(shop: Shop, named: str | None = None) -> Channel | None:
    """The channel of a request: `named` by a parameter, by X-Channel, or the shop's default; None:
    none. Raises Invalid."""
    slug = named or shop.channel or shop.tenant.channel
    if slug is None:
        return None
    known = await shop.compiled(shop.services.live_channels, lambda conn: _known(conn, shop))
    return _named(known, slug)


async def require(shop: Shop, slug: str) -> Channel:
    """An active channel, read from the database. Raises Invalid."""
    async with shop.read() as conn:
        return _named(await _known(conn, shop), slug)


def _named(known: Mapping[str, Channel], slug: str) -> Channel:
    found = known.get(slug)
    if found is None:
        has = f"the shop has {', '.join(list(known)[:10])}" if known else "the shop has none"
        raise Invalid.field("channel", f"there is no channel “{slug[:64]}”: {has}")
    return found


async def _known(conn: Connection, shop: Shop) -> Mapping[str, Channel]:
    return {each.slug: each for each in await queries.active(conn, shop.tenant.id)}


async def one(shop: Shop, key: str) -> tuple[str, bytes]:
    """Version and JSON of a channel, by its id or slug. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        return await _one(conn, shop, key)


async def _one(conn: Connection, shop: Shop, key: str) -> tuple[str, bytes]:
    found = await queries.one(conn, shop.tenant.id, key)
    if found is None:
        raise NotFound("channel not found")
    return found


async def everything(shop: Shop, page: int | None, per_page: int, cursor: str | None) -> bytes:
    """A page of channels as JSON, by slug. Raises Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.KEYS)
    async with shop.read() as conn:
        return await queries.page(conn, shop.tenant.id, window)


async def create(shop: Shop, new: NewChannel) -> tuple[str, bytes]:
    """A new channel: its version and JSON. Raises Invalid, Conflict."""
    shop.caller.require(WRITE)
    channel = ids.new_id()
    values = structs.asdict(new)
    places = values.pop("locations")
    values["currency"] = money.currency(new.currency or shop.tenant.currency)
    values["country"] = new.country and new.country.upper()
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            await tx.insert("channel", {"tenant_id": shop.tenant.id, "id": channel, **values})
            await queries.set_locations(tx, shop.tenant.id, channel, places)
            await queries.begin_channel(tx, shop.tenant.id)
            await list_products(tx, shop, [channel])
            return await _one(tx, shop, str(channel))


async def change(
    shop: Shop, key: str, data: ChannelChange, if_match: str | None
) -> tuple[str, bytes]:
    """Changes a channel. Raises NotFound, PreconditionFailed, Invalid, Conflict."""
    values: dict[str, Any] = {
        name: value for name, value in structs.asdict(data).items() if value is not UNSET
    }
    places = values.pop("locations", None)
    if "currency" in values:
        values["currency"] = money.currency(values["currency"])
    if values.get("country"):
        values["country"] = values["country"].upper()
    with translated(_CONSTRAINTS), held_by(_KEPT, IN_USE):
        async with shop.write() as tx:
            channel, slug = await _begin(tx, shop, key, if_match)
            if values.get("slug", slug) != slug:
                _require_not_default(shop, slug)
            await queries.update(tx, shop.tenant.id, channel, values)
            if places is not None:
                await queries.set_locations(tx, shop.tenant.id, channel, places)
            await list_products(tx, shop, [channel])
            return await _one(tx, shop, str(channel))


async def delete(shop: Shop, key: str, if_match: str | None) -> None:
    """Deletes a channel without carts and price lists. Raises NotFound, PreconditionFailed,
    Conflict."""
    with held_by(_KEPT, IN_USE):
        async with shop.write() as tx:
            channel, slug = await _begin(tx, shop, key, if_match)
            _require_not_default(shop, slug)
            await queries.delete(tx, shop.tenant.id, channel)
            await list_products(tx, shop, [channel])


async def put_product(shop: Shop, key: str, product: UUID, data: Availability) -> bytes:
    """Sells a product in a channel, from a time or until one; as JSON. Raises NotFound, Invalid,
    Unprocessable."""
    times = shop.with_zones(structs.asdict(data))
    since, until = times["available_from"], times["available_until"]
    if since is not None and until is not None and since >= until:
        raise Invalid.field("available_until", "must be after available_from")
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            channel, _ = await _begin(tx, shop, key, None)
            body = await queries.put_product(tx, shop.tenant.id, channel, product, since, until)
            await list_products(tx, shop, [channel], [product])
            return body


async def remove_product(shop: Shop, key: str, product: UUID) -> None:
    """Undoes `put_product`. Raises NotFound."""
    async with shop.write() as tx:
        channel, _ = await _begin(tx, shop, key, None)
        if not await queries.remove_product(tx, shop.tenant.id, channel, product):
            raise NotFound("the product was not chosen for this channel")
        await list_products(tx, shop, [channel], [product])


async def _begin(tx: Connection, shop: Shop, key: str, if_match: str | None) -> tuple[UUID, str]:
    """Locks a channel's row; its id and slug."""
    shop.caller.require(WRITE)
    found = await queries.lock(tx, shop.tenant.id, key)
    if found is None:
        raise NotFound("channel not found")
    versions.check(if_match, found[1], "the channel")
    return found[0], found[2]


def _require_not_default(shop: Shop, slug: str) -> None:
    if shop.tenant.channel == slug:
        raise Conflict(
            "it is the shop's default; first name another one: rcommerce tenant set --channel",
            code=IN_USE,
        )


async def list_products(
    tx: Connection,
    shop: Shop,
    channels: Sequence[UUID] | None,
    products: Sequence[UUID] | None = None,
) -> None:
    """Computes the prices of lists of products anew: for these channels and products, or all. A
    transaction locks no row after it."""
    await queries.list_products(tx, shop.tenant.id, channels, products)
