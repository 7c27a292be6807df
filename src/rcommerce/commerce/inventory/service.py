"""The rules of stock."""

from collections.abc import Sequence
from uuid import UUID

from rcommerce import ids
from rcommerce.commerce import paging
from rcommerce.commerce.inventory import queries
from rcommerce.commerce.inventory.schema import (
    Adjustment,
    Level,
    NewReservation,
    Receipt,
    Recount,
    Short,
    Transfer,
    Wanted,
)
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection
from rcommerce.errors import Conflict, NotFound, OutOfStock


async def reserve(
    tx: Connection,
    shop: Shop,
    lines: Sequence[Wanted],
    *,
    order: UUID | None,
    ttl_s: int,
    channel: UUID | None = None,
) -> None:
    """Reserves every line for `ttl_s` seconds, at the channel's locations. Raises OutOfStock;
    nothing is reserved then."""
    wanted: dict[UUID, int] = {}
    for line in lines:
        wanted[line.variant_id] = wanted.get(line.variant_id, 0) + line.quantity
    short = await queries.reserve(
        tx, shop.tenant.id, variants=list(wanted), quantities=list(wanted.values()), order=order,
        reservation=None, ttl_s=ttl_s, reason="", actor=shop.caller.name, channel=channel,
    )  # fmt: skip
    if short:
        raise out_of_stock(short)


async def available(
    conn: Connection, shop: Shop, variants: Sequence[UUID], channel: UUID | None
) -> dict[UUID, int | None]:
    """Units of variants that can be sold in a channel now; None: as many as wanted."""
    return await queries.available(conn, shop.tenant.id, variants, channel)


def out_of_stock(short: Sequence[Short]) -> OutOfStock:
    """The error that names each short line with what is left of it."""
    lines = [
        {"variant_id": s.variant_id, "quantity": s.quantity, "available": s.available}
        for s in short
    ]
    return OutOfStock("some items are no longer available in that quantity", extra={"lines": lines})


async def sell(tx: Connection, shop: Shop, order: UUID) -> None:
    """Takes an order's reserved units out of stock."""
    await queries.sell(tx, shop.tenant.id, order, actor=shop.caller.name)


async def let_go(tx: Connection, shop: Shop, order: UUID, reason: str) -> None:
    """Releases an order's reservations."""
    await queries.release_order(tx, shop.tenant.id, order, reason=reason, actor=shop.caller.name)


async def put_back(
    tx: Connection, shop: Shop, order: UUID, units: Sequence[tuple[UUID, int]]
) -> None:
    """Returns an order's units to stock."""
    await queries.put_back(
        tx,
        shop.tenant.id,
        variants=[variant for variant, _ in units],
        quantities=[quantity for _, quantity in units],
        order=order,
        actor=shop.caller.name,
    )


async def hold(shop: Shop, new: NewReservation) -> UUID:
    """Reserves by hand. Raises NotFound, OutOfStock."""
    async with shop.write() as tx:
        await _require_variant(tx, shop, new.variant_id)
        reservation = ids.new_id()
        short = await queries.reserve(
            tx, shop.tenant.id, variants=[new.variant_id], quantities=[new.quantity], order=None,
            reservation=reservation, ttl_s=new.expires_in_s, reason=new.reason,
            actor=shop.caller.name,
        )  # fmt: skip
        if short:
            raise out_of_stock(short)
    return reservation


async def release(shop: Shop, reservation: UUID) -> None:
    """Releases a reservation made by hand. Raises NotFound."""
    async with shop.write() as tx:
        done = await queries.release(
            tx, shop.tenant.id, reservation, reason="released", actor=shop.caller.name
        )
    if not done:
        raise NotFound("reservation not found")


async def adjust(shop: Shop, data: Adjustment) -> Level:
    """Adds a difference. Raises NotFound, or Conflict if less than what is reserved would
    remain."""
    return await _change(
        shop, data.variant_id, data.location_id, "adjust", by=data.quantity, reason=data.reason
    )


async def receive(shop: Shop, data: Receipt) -> Level:
    """Adds goods that arrived. Raises NotFound."""
    return await _change(
        shop, data.variant_id, data.location_id, "receive", by=data.quantity, reason=data.reason
    )


async def recount(shop: Shop, data: Recount) -> Level:
    """Sets on_hand. Raises NotFound, or Conflict if that is less than what is reserved."""
    return await _change(
        shop, data.variant_id, data.location_id, "set", to=data.on_hand, reason=data.reason
    )


async def transfer(shop: Shop, data: Transfer) -> list[Level]:
    """Moves units between two locations. Raises NotFound, Conflict."""
    steps = [(data.from_location_id, -data.quantity), (data.to_location_id, data.quantity)]
    async with shop.write() as tx:
        # in a fixed order, so that two of them never deadlock
        for location, quantity in sorted(steps):
            await _book(
                tx, shop, data.variant_id, location, "transfer", by=quantity, reason=data.reason
            )
        return await queries.levels(tx, shop.tenant.id, data.variant_id)


async def set_initial(tx: Connection, shop: Shop, variant: UUID, on_hand: int) -> None:
    """Sets a new variant's initial stock, at the default location."""
    await _book(tx, shop, variant, None, "set", to=on_hand, reason="first stock")


async def _change(
    shop: Shop,
    variant: UUID,
    location: UUID | None,
    kind: str,
    *,
    by: int | None = None,
    to: int | None = None,
    reason: str,
) -> Level:
    async with shop.write() as tx:
        return await _book(tx, shop, variant, location, kind, by=by, to=to, reason=reason)


async def _book(
    tx: Connection,
    shop: Shop,
    variant: UUID,
    location: UUID | None,
    kind: str,
    *,
    by: int | None = None,
    to: int | None = None,
    reason: str,
) -> Level:
    tenant = shop.tenant.id
    if not await queries.ensure_level(tx, tenant, variant, location):
        raise NotFound("variant or location not found")
    level = await queries.change(
        tx, tenant, variant=variant, location=location, kind=kind, by=by, to=to, reason=reason,
        actor=shop.caller.name,
    )  # fmt: skip
    if level is None:
        raise Conflict(
            "fewer units would be on hand than are reserved, or more than a level can hold",
            code="stock_reserved",
        )
    return level


async def levels(shop: Shop, variant: UUID) -> list[Level]:
    """A variant's levels. Raises NotFound."""
    async with shop.read() as conn:
        found = await queries.levels(conn, shop.tenant.id, variant)
        if not found:
            await _require_variant(conn, shop, variant)
    return found


async def _require_variant(conn: Connection, shop: Shop, variant: UUID) -> None:
    if not await queries.variant_exists(conn, shop.tenant.id, variant):
        raise NotFound("variant not found")


async def list_levels(
    shop: Shop, page: int | None, per_page: int, cursor: str | None, location: UUID | None
) -> bytes:
    """A page of all levels, as JSON."""
    window = paging.window(page, per_page, cursor, queries.LEVEL_KEYS)
    async with shop.read() as conn:
        return await queries.list_levels(conn, shop.tenant.id, window, location)


async def list_movements(
    shop: Shop, page: int | None, per_page: int, cursor: str | None, variant: UUID | None
) -> bytes:
    """A page of movements, newest first, as JSON."""
    window = paging.window(page, per_page, cursor, queries.MOVEMENT_KEYS)
    async with shop.read() as conn:
        return await queries.list_movements(conn, shop.tenant.id, window, variant)


async def locations(shop: Shop) -> bytes:
    """The shop's locations, as JSON."""
    async with shop.read() as conn:
        return await queries.locations(conn, shop.tenant.id)


async def add_location(shop: Shop, name: str) -> UUID:
    """A new location. Raises Conflict if the name is taken."""
    location = ids.new_id()
    async with shop.write() as tx:
        if not await queries.insert_location(tx, shop.tenant.id, location, name):
            raise Conflict(f"a location “{name}” already exists", code="duplicate")
    return location


async def with_expired(conn: Connection) -> list[UUID]:
    """Tenants of this shard with expired reservations made by hand."""
    return await queries.with_expired(conn)


async def release_expired(tx: Connection, shop: Shop, limit: int) -> int:
    """Releases expired reservations; returns how many."""
    return await queries.release_expired(tx, shop.tenant.id, limit)
