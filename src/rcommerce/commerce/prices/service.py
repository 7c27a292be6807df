"""The rules of prices: lists for channels, groups, quantities and times, and exchange rates."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, structs

from rcommerce import clock, ids, money
from rcommerce.commerce import paging, versions
from rcommerce.commerce.channels import service as channels
from rcommerce.commerce.prices import queries
from rcommerce.commerce.prices.queries import Held
from rcommerce.commerce.prices.schema import (
    Adjustment,
    ExchangeRate,
    NewPrice,
    NewPriceList,
    PriceKey,
    PriceListChange,
)
from rcommerce.commerce.shop import Shop
from rcommerce.commerce.strategies import RatesUnavailable
from rcommerce.database import Connection, translated
from rcommerce.database.invalidation import invalidate
from rcommerce.errors import Conflict, Invalid, NotFound, Unavailable, Unprocessable

READ = "products:read"
WRITE = "products:write"
LARGEST_RATE = Decimal(10) ** 9
# Prices of so many products are invalidated one by one; of more, with all that depends on channels.
MOST_TAGS = 200
_CONSTRAINTS = {"price_list_group_tenant_id_group_id_fkey": "customer_group_ids"}
_CENTS = ("0.05", "0.10", "0.50", "0.95", "0.99")


# Price lists ------------------------------------------------------------------------------------


async def one(shop: Shop, price_list: UUID) -> tuple[str, bytes]:
    """Version and JSON of a price list. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        return await _one(conn, shop, price_list)


async def _one(conn: Connection, shop: Shop, price_list: UUID) -> tuple[str, bytes]:
    found = await queries.one(conn, shop.tenant.id, price_list)
    if found is None:
        raise NotFound("price list not found")
    return found


async def everything(shop: Shop, page: int | None, per_page: int, cursor: str | None) -> bytes:
    """A page of price lists as JSON, newest first. Raises Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.KEYS)
    async with shop.read() as conn:
        return await queries.page(conn, shop.tenant.id, window)


async def create(shop: Shop, new: NewPriceList) -> tuple[str, bytes]:
    """A new price list: its version and JSON. Raises Invalid, Unprocessable."""
    shop.caller.require(WRITE)
    currency = money.currency(new.currency or shop.tenant.currency)
    price_list = ids.new_id()
    names = ("name", "priority", "starts_at", "ends_at", "is_active")
    values = shop.with_zones({name: getattr(new, name) for name in names})
    values |= _adjustment(new.adjustment, currency)
    _check_times(values["starts_at"], values["ends_at"])
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            key = {"tenant_id": shop.tenant.id, "id": price_list, "currency": currency}
            await tx.insert("price_list", {**key, **values})
            await _set_channels(tx, shop, price_list, currency, new.channel_ids)
            await queries.set_groups(tx, shop.tenant.id, price_list, new.customer_group_ids)
            if new.adjustment is not None:
                await channels.list_products(tx, shop, new.channel_ids or None)
            return await _one(tx, shop, price_list)


def _adjustment(given: Adjustment | None, currency: str) -> dict[str, Any]:
    """The columns of an adjustment. Raises Invalid."""
    if given is None:
        return {"adjustment_type": None, "adjustment_value": None}
    value = given.value
    if given.type == "fixed":
        value = money.amount(abs(value), currency, "adjustment.value").copy_sign(value)
    elif not value.is_finite() or not -100 <= value <= 100:
        raise Invalid.field("adjustment.value", "must be a percentage from -100 to 100")
    return {"adjustment_type": given.type, "adjustment_value": value}


def _check_times(starts_at: datetime | None, ends_at: datetime | None) -> None:
    if starts_at is not None and ends_at is not None and starts_at >= ends_at:
        raise Invalid.field("ends_at", "must be after starts_at")


async def _set_channels(
    tx: Connection, shop: Shop, price_list: UUID, currency: str, wanted: Sequence[UUID]
) -> None:
    found = await queries.currencies(tx, shop.tenant.id, wanted)
    for channel in wanted:
        if channel not in found:
            raise Unprocessable.field("channel_ids", f"there is no channel {channel}")
        if found[channel] != currency:
            raise Unprocessable.field(
                "channel_ids",
                f"the channel {channel} sells in {found[channel]}, and the list is in {currency}",
                code="currency_mismatch",
            )
    await queries.set_channels(tx, shop.tenant.id, price_list, currency, wanted)


async def change(
    shop: Shop, price_list: UUID, data: PriceListChange, if_match: str | None
) -> tuple[str, bytes]:
    """Changes a price list. Raises NotFound, PreconditionFailed, Invalid, Unprocessable."""
    given = shop.with_zones(
        {name: value for name, value in structs.asdict(data).items() if value is not UNSET}
    )
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            held = await _begin(tx, shop, price_list, if_match)
            _check_times(given.get("starts_at", held.starts_at), given.get("ends_at", held.ends_at))
            wanted, groups = given.pop("channel_ids", None), given.pop("customer_group_ids", None)
            if "adjustment" in given:
                given |= _adjustment(given.pop("adjustment"), held.currency)
            await queries.update(tx, shop.tenant.id, price_list, given)
            if wanted is not None:
                await _set_channels(tx, shop, price_list, held.currency, wanted)
            if groups is not None:
                await queries.set_groups(tx, shop.tenant.id, price_list, groups)
            adjusts = held.has_adjustment or given.get("adjustment_type") is not None
            everywhere = not held.channels or wanted == []
            their = None if everywhere else [*held.channels, *(wanted or ())]
            await _list_again(tx, shop, price_list, their, adjusts=adjusts)
            return await _one(tx, shop, price_list)


async def delete(shop: Shop, price_list: UUID, if_match: str | None) -> None:
    """Deletes a price list with its prices. Raises NotFound, PreconditionFailed."""
    async with shop.write() as tx:
        held = await _begin(tx, shop, price_list, if_match)
        products = await queries.products_of(tx, shop.tenant.id, price_list)
        await queries.delete(tx, shop.tenant.id, price_list)
        await channels.list_products(
            tx, shop, held.channels or None, None if held.has_adjustment else products
        )


async def _begin(tx: Connection, shop: Shop, price_list: UUID, if_match: str | None) -> Held:
    """Locks a price list's row."""
    shop.caller.require(WRITE)
    held = await queries.lock(tx, shop.tenant.id, price_list)
    if held is None:
        raise NotFound("price list not found")
    versions.check(if_match, held.version, "the price list")
    return held


async def _list_again(
    tx: Connection, shop: Shop, price_list: UUID, its: Sequence[UUID] | None, *, adjusts: bool
) -> None:
    products = None if adjusts else await queries.products_of(tx, shop.tenant.id, price_list)
    await channels.list_products(tx, shop, its, products)


async def named(shop: Shop, name: str) -> tuple[UUID, str]:
    """(id, currency) of the price list with a name or id. Raises NotFound, Conflict."""
    async with shop.read() as conn:
        found = await queries.named(conn, shop.tenant.id, name)
    if not found:
        raise NotFound(f"there is no price list “{name}”")
    if len(found) > 1:
        which = ", ".join(str(each[0]) for each in found[:5])
        raise Conflict(f"there are {len(found)} price lists “{name}”: give one's id: {which}")
    return found[0]


async def variants_of(shop: Shop, skus: Sequence[str]) -> dict[str, UUID]:
    """Variants by their SKUs; missing ones are left out."""
    async with shop.read() as conn:
        return await queries.by_sku(conn, shop.tenant.id, skus)


# Their prices -----------------------------------------------------------------------------------


async def prices(
    shop: Shop, price_list: UUID, page: int | None, per_page: int, cursor: str | None
) -> bytes:
    """A page of a list's prices as JSON. Raises NotFound, Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.PRICE_KEYS)
    async with shop.read() as conn:
        await _one(conn, shop, price_list)
        return await queries.price_page(conn, shop.tenant.id, price_list, window)


async def put(shop: Shop, price_list: UUID, new: Sequence[NewPrice]) -> int:
    """Sets prices of a list; returns how many have changed. Raises NotFound, Invalid,
    Unprocessable."""
    async with shop.write() as tx:
        held = await _begin(tx, shop, price_list, None)
        checked = [
            checked_price(each, held.currency, f"[{number}].") for number, each in enumerate(new)
        ]
        _require_once([(each.variant_id, each.min_quantity) for each in checked])
        found = await queries.products(tx, shop.tenant.id, [each.variant_id for each in new])
        for number, each in enumerate(new):
            if each.variant_id not in found:
                raise Unprocessable.field(f"[{number}].variant_id", "there is no such variant")
        count = await queries.put_prices(tx, shop.tenant.id, price_list, held.currency, checked)
        if count:
            await _changed(tx, shop, held, {*found.values()})
    return count


def checked_price(new: NewPrice, currency: str, at: str = "") -> NewPrice:
    """A price with its currency's digits; `at` is where it is in the request. Raises Invalid."""
    amount = money.amount(new.amount, currency, f"{at}amount")
    compare_at = new.compare_at
    if compare_at is not None:
        compare_at = money.amount(compare_at, currency, f"{at}compare_at")
        if compare_at <= amount:
            raise Invalid.field(f"{at}compare_at", "must be more than amount")
    return structs.replace(new, amount=amount, compare_at=compare_at)


def _require_once(keys: Sequence[tuple[UUID, int]]) -> None:
    seen: set[tuple[UUID, int]] = set()
    for number, key in enumerate(keys):
        if key in seen:
            raise Invalid.field(
                f"[{number}].min_quantity", f"the variant has a price from {key[1]} on already"
            )
        seen.add(key)


async def remove(shop: Shop, price_list: UUID, keys: Sequence[PriceKey]) -> int:
    """Removes prices of a list; returns how many. Raises NotFound."""
    async with shop.write() as tx:
        held = await _begin(tx, shop, price_list, None)
        found = await queries.products(tx, shop.tenant.id, [each.variant_id for each in keys])
        count = await queries.remove_prices(tx, shop.tenant.id, price_list, keys)
        await _changed(tx, shop, held, {*found.values()})
    return count


async def _changed(tx: Connection, shop: Shop, held: Held, products: set[UUID]) -> None:
    """Lists products with their new prices, and drops what showed the old ones."""
    tags = [channels.TAG]
    if len(products) <= MOST_TAGS:
        tags = ["prices", *(f"product:{each}" for each in sorted(products))]
    await invalidate(tx, shop.tenant.id, tags)
    await channels.list_products(tx, shop, held.channels or None, sorted(products))


# Exchange rates ---------------------------------------------------------------------------------


async def rates(shop: Shop) -> bytes:
    """The exchange rates as JSON."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        return await queries.rates(conn, shop.tenant.id)


async def set_rates(shop: Shop, new: Sequence[ExchangeRate]) -> bytes:
    """Replaces the exchange rates; as JSON. Raises Invalid, Unavailable."""
    shop.caller.require(WRITE)
    known: dict[str, Mapping[str, Decimal]] = {}
    checked = [
        _checked_rate(await _looked_up(shop, each, number, known), number)
        for number, each in enumerate(new)
    ]
    seen: set[tuple[str, str]] = set()
    for number, each in enumerate(checked):
        if (each.source, each.target) in seen:
            raise Invalid.field(f"[{number}]", f"{each.source} to {each.target} is there twice")
        seen.add((each.source, each.target))
    async with shop.write() as tx:
        await queries.set_rates(tx, shop.tenant.id, checked)
        await channels.list_products(tx, shop, None)
        return await queries.rates(tx, shop.tenant.id)


async def _looked_up(
    shop: Shop, new: ExchangeRate, number: int, known: dict[str, Mapping[str, Decimal]]
) -> ExchangeRate:
    """With the source's rate, if it is automatic. `known` are the rates of sources asked before."""
    if not new.is_automatic:
        return new
    source = shop.services.exchange_rates
    if source.name == "Manual":
        raise Invalid.field(f"[{number}].is_automatic", "the settings name no source of rates")
    base = new.source.upper()
    try:
        if base not in known:
            known[base] = await source.rates(base)
    except RatesUnavailable as error:
        if new.rate is not None:
            return new
        raise Unavailable(str(error), code="rates_unavailable", retry_after_s=60) from error
    if new.target.upper() not in known[base]:
        says = f"{source.name} has no rate from {base} to {new.target.upper()}"
        raise Invalid.field(f"[{number}].to", says)
    return structs.replace(new, rate=known[base][new.target.upper()])


def _checked_rate(new: ExchangeRate, number: int) -> ExchangeRate:
    source = money.currency(new.source, f"[{number}].from")
    target = money.currency(new.target, f"[{number}].to")
    if source == target:
        raise Invalid.field(f"[{number}].to", "must be another currency than from")
    if new.rate is None:
        raise Invalid.field(f"[{number}].rate", "is required, unless is_automatic")
    if not new.rate.is_finite() or not 0 < new.rate < LARGEST_RATE:
        raise Invalid.field(f"[{number}].rate", f"must be above 0 and below {LARGEST_RATE:f}")
    if new.rounding in _CENTS and money.digits(target) < 2:
        raise Invalid.field(f"[{number}].rounding", f"{target} has no cents: none or whole")
    return structs.replace(new, source=source, target=target)


# Why a product costs what it does ---------------------------------------------------------------


async def explain(
    shop: Shop, product: UUID, named: str | None, group: UUID | None, quantity: int
) -> bytes:
    """What a product costs in a channel, and by which list, as JSON. Raises NotFound, Invalid."""
    shop.caller.require(READ)
    channel = await channels.requested(shop, named)
    currency = channel.currency if channel else shop.tenant.currency
    async with shop.read() as conn:
        variants = await queries.explained(
            conn,
            shop.tenant.id,
            product,
            channel=channel.id if channel else None,
            currency=currency,
            groups=[group] if group else [],
            quantity=quantity,
            moment=moment(),
        )
    if variants is None:
        raise NotFound("product not found")
    head: Mapping[str, Any] = {
        "channel": channel.slug if channel else None,
        "currency": currency,
        "quantity": quantity,
    }
    return msgspec.json.encode(head)[:-1] + b',"variants":' + variants + b"}"


def moment() -> datetime:
    """The time whose prices count."""
    return datetime.fromtimestamp(clock.now(), UTC)
