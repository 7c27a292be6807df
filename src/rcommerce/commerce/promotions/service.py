"""The rules of promotions and coupons: what may be set up, and how often each may be used."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, to_builtins

from rcommerce import ids
from rcommerce.commerce import paging, versions
from rcommerce.commerce.pricing.rules import Promotion
from rcommerce.commerce.promotions import checks, compiling, queries
from rcommerce.commerce.promotions.compiling import Descendants
from rcommerce.commerce.promotions.schema import (
    CartCode,
    FieldsChange,
    NewCodes,
    NewCoupon,
    NewPromotion,
    Redemption,
    Row,
    Rules,
)
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection, Jsonb, translated
from rcommerce.errors import Conflict, Invalid, NotFound, Unprocessable

READ = "coupons:read"
WRITE = "coupons:write"
CODES_AT_A_TIME = 10_000
TAGS = ("promotions", "categories")  # of what `live` depends on


class Live(msgspec.Struct, frozen=True):
    """The automatic promotions of a shop that apply now or later, with their limits."""

    rows: Mapping[UUID, Row]
    promotions: tuple[Promotion, ...]
    descendants: Descendants


class Buying(NamedTuple):
    """Who buys, as far as it is known."""

    customer_id: UUID | None
    email: str | None


# What may be set up -----------------------------------------------------------------------------


async def create(shop: Shop, new: NewPromotion | NewCoupon) -> tuple[str, bytes]:
    """A promotion or coupon: its version and JSON. Raises Invalid, Unprocessable, Conflict."""
    shop.caller.require(WRITE)
    values = _all(new)
    code = values.pop("code", None)
    if code is not None:
        values["title"] = values["title"] or code.strip()
    is_coupon = isinstance(new, NewCoupon)
    promotion = ids.new_id()
    columns, rules = checks.checked(shop.with_zones(values), shop.tenant.currency)
    async with shop.write() as tx:
        await _require_sold(tx, shop, rules)
        row = {"tenant_id": shop.tenant.id, "id": promotion, "is_coupon": is_coupon, **columns}
        await tx.insert("promotion", {**row, "rules": Jsonb(to_builtins(rules))})
        if code is not None:
            await _add_code(tx, shop, promotion, code)
        return await _one(tx, shop, promotion, is_coupon=is_coupon)


async def _add_code(tx: Connection, shop: Shop, promotion: UUID, code: str) -> None:
    try:
        with translated({"coupon_code_pkey": "code"}):
            await queries.add_code(
                tx, shop.tenant.id, promotion, compared(code), code.strip(), None
            )
    except Conflict as error:
        raise Conflict(
            f"there is a coupon “{code.strip()}” already",
            code="coupon_code_exists",
            extra=error.extra,
        ) from error


async def generate(shop: Shop, coupon: UUID, new: NewCodes) -> int:
    """Random codes for a coupon; returns how many. Raises NotFound."""
    shop.caller.require(WRITE)
    async with shop.write() as tx:
        await _one(tx, shop, coupon, is_coupon=True)
        left = new.count
        while left:
            shown = [
                new.prefix + ids.readable(new.length) for _ in range(min(left, CODES_AT_A_TIME))
            ]
            made = [(compared(each), each) for each in shown]
            left -= await queries.add_codes(tx, shop.tenant.id, coupon, made, new.usage_limit)
    return new.count


async def code_page(
    shop: Shop, coupon: UUID, page: int | None, per_page: int, cursor: str | None
) -> bytes:
    """A page of a coupon's codes as JSON, oldest first. Raises NotFound, Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.CODE_KEYS)
    async with shop.read() as conn:
        await _one(conn, shop, coupon, is_coupon=True)
        return await queries.code_page(conn, shop.tenant.id, coupon, window)


async def exported(shop: Shop, coupon: UUID) -> str:
    """All codes of a coupon as CSV: code, usage_limit, usage_count. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        await _one(conn, shop, coupon, is_coupon=True)
        rows = await queries.all_codes(conn, shop.tenant.id, coupon)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("code", "usage_limit", "usage_count"))
    writer.writerows(rows)
    return text.getvalue()


def compared(code: str) -> str:
    """A code as it is compared: without spaces around it, in any case. Letters that only look alike
    stay different."""
    return unicodedata.normalize("NFC", code.strip().casefold())


async def change(
    shop: Shop, promotion: UUID, data: FieldsChange, if_match: str | None, *, is_coupon: bool
) -> tuple[str, bytes]:
    """Changes a promotion or coupon. Raises NotFound, PreconditionFailed, Invalid,
    Unprocessable."""
    async with shop.write() as tx:
        old, description = await _begin(tx, shop, promotion, if_match, is_coupon=is_coupon)
        values = {
            **{name: getattr(old, name) for name in old.__struct_fields__ if name != "rules"},
            **{name: getattr(old.rules, name) for name in old.rules.__struct_fields__},
            "description": description,
        }
        del values["id"]
        values |= {name: value for name, value in _all(data).items() if value is not UNSET}
        columns, rules = checks.checked(shop.with_zones(values), shop.tenant.currency)
        await _require_sold(tx, shop, rules)
        await queries.update(
            tx, shop.tenant.id, promotion, {**columns, "rules": Jsonb(to_builtins(rules))}
        )
        await _recount(tx, shop, promotion, columns)
        return await _one(tx, shop, promotion, is_coupon=is_coupon)


async def _recount(tx: Connection, shop: Shop, promotion: UUID, columns: Mapping[str, Any]) -> None:
    """A limit counts the uses from before it was set, too."""
    today = shop.local_time().replace(hour=0, minute=0, second=0, microsecond=0)
    since = {"": datetime.fromtimestamp(0, UTC), f"day {_today(shop)}": today}
    limits = {"": columns["usage_limit"], f"day {_today(shop)}": columns["usage_limit_per_day"]}
    for key, limit in limits.items():
        if limit is not None:
            await queries.hold_uses(tx, shop.tenant.id, [(promotion, key)])
            await queries.recount(tx, shop.tenant.id, promotion, key, since[key])


async def delete(shop: Shop, promotion: UUID, if_match: str | None, *, is_coupon: bool) -> None:
    """Deletes a promotion or coupon; orders keep their discounts. Raises NotFound,
    PreconditionFailed."""
    async with shop.write() as tx:
        await _begin(tx, shop, promotion, if_match, is_coupon=is_coupon)
        await queries.delete(tx, shop.tenant.id, promotion)


async def _begin(
    tx: Connection, shop: Shop, promotion: UUID, if_match: str | None, *, is_coupon: bool
) -> tuple[Row, str]:
    shop.caller.require(WRITE)
    found = await queries.lock(tx, shop.tenant.id, promotion, is_coupon=is_coupon)
    if found is None:
        raise NotFound(f"{_name(is_coupon=is_coupon)} not found")
    version, row, description = found
    versions.check(if_match, version, f"the {_name(is_coupon=is_coupon)}")
    return msgspec.convert(row, Row), description


def _name(*, is_coupon: bool) -> str:
    return "coupon" if is_coupon else "promotion"


async def one(shop: Shop, key: str, *, is_coupon: bool) -> tuple[str, bytes]:
    """Version and JSON of a promotion by its id, of a coupon also by its code. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        if ids.is_uuid(key):
            promotion: UUID | None = UUID(key)
        else:
            promotion = await queries.by_code(conn, shop.tenant.id, compared(key))
        if promotion is None:
            raise NotFound(f"{_name(is_coupon=is_coupon)} not found")
        return await _one(conn, shop, promotion, is_coupon=is_coupon)


async def _one(
    conn: Connection, shop: Shop, promotion: UUID, *, is_coupon: bool
) -> tuple[str, bytes]:
    found = await queries.one(conn, shop.tenant.id, promotion, is_coupon=is_coupon)
    if found is None:
        raise NotFound(f"{_name(is_coupon=is_coupon)} not found")
    return found


async def everything(
    shop: Shop, page: int | None, per_page: int, cursor: str | None, *, is_coupon: bool
) -> bytes:
    """A page of promotions or coupons as JSON, newest first. Raises Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.KEYS)
    async with shop.read() as conn:
        return await queries.page(conn, shop.tenant.id, window, is_coupon=is_coupon)


async def usage(
    shop: Shop, coupon: UUID, page: int | None, per_page: int, cursor: str | None
) -> bytes:
    """A page of a coupon's uses as JSON, newest first. Raises NotFound, Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.USAGE_KEYS)
    async with shop.read() as conn:
        await _one(conn, shop, coupon, is_coupon=True)
        return await queries.usage(conn, shop.tenant.id, coupon, window)


def _all(data: Struct) -> dict[str, Any]:
    return {name: getattr(data, name) for name in data.__struct_fields__}


async def _require_sold(tx: Connection, shop: Shop, rules: Rules) -> None:
    """Raises Unprocessable if a gift, or a part of a bundle, is not sold."""
    named: dict[str, UUID] = {}
    if rules.gift is not None:
        named["gift.variant_id"] = rules.gift.variant_id
    for number, part in enumerate(rules.bundle.items if rules.bundle else ()):
        named[f"bundle.items[{number}].variant_id"] = part.variant_id
    if not named:
        return
    if len(set(named.values())) < len(named):
        raise Invalid.field("bundle.items", "names a variant twice")
    sold = await queries.sold_variants(tx, shop.tenant.id, list(named.values()))
    for field, variant in named.items():
        if variant not in sold:
            raise Unprocessable.field(field, f"variant {variant} is not sold")


def code(written: str, found: CartCode | None) -> CartCode:
    """What a code stands for that was looked for as it is `compared`."""
    return found or CartCode(code=compared(written), shown=written)


async def codes(conn: Connection, shop: Shop, written: Sequence[str]) -> list[CartCode]:
    """What these codes stand for, as they were written."""
    found = await queries.codes(conn, shop.tenant.id, [compared(each) for each in written])
    return [code(each, found.get(compared(each))) for each in written]


# What applies -----------------------------------------------------------------------------------


async def live(shop: Shop) -> Live:
    """The shop's automatic promotions, compiled: kept by each process until one changes."""

    async def read(conn: Connection) -> Live:
        rows = await queries.automatic(conn, shop.tenant.id)
        below = compiling.descendants(await queries.categories(conn, shop.tenant.id))
        made = tuple(compiling.compiled(row, below) for row in rows)
        return Live({row.id: row for row in rows}, made, below)

    return await shop.compiled(shop.services.live_promotions, read)


async def applicable(
    conn: Connection, shop: Shop, now: Live, codes: Iterable[CartCode], by: Buying
) -> list[Promotion]:
    """The promotions that a quote looks at: the automatic ones and those of the codes, with what is
    left of their limits."""
    rows = dict(now.rows)
    of_code: dict[UUID, CartCode] = {}
    found = list(now.promotions)
    for code in codes:
        if code.promotion is not None and code.promotion.id not in of_code:
            of_code[code.promotion.id] = code
            rows[code.promotion.id] = code.promotion
            found.append(compiling.compiled(code.promotion, now.descendants, code.shown))
    limited = {
        promotion: _keys(row, of_code.get(promotion), _today(shop))
        for promotion, row in rows.items()
    }
    keys = [(promotion, key) for promotion, some in limited.items() for key in some]
    entered = {promotion: number for number, promotion in enumerate(of_code)}
    used = await queries.uses(conn, shop.tenant.id, keys) if keys else {}
    by_customer = await _uses_of_customer(conn, shop, rows.values(), by)
    return [
        msgspec.structs.replace(
            each,
            entered=entered.get(each.id, 0),
            is_exhausted=any(
                used.get((each.id, key), 0) >= limit for key, limit in limited[each.id].items()
            ),
            is_exhausted_for_customer=_is_reached(
                by_customer.get(each.id, 0), rows[each.id].usage_limit_per_customer
            ),
        )
        for each in found
    ]


def _is_reached(used: int, limit: int | None) -> bool:
    return limit is not None and used >= limit


def _today(shop: Shop) -> date:
    return shop.local_time().date()


def _keys(row: Row, code: CartCode | None, day: date) -> dict[str, int]:
    """The limits of a promotion by the key that counts its uses."""
    limits = {
        "": row.usage_limit,
        f"day {day}": row.usage_limit_per_day,
        f"code {code.code if code else ''}": code.usage_limit if code else None,
    }
    return {key: limit for key, limit in limits.items() if limit is not None}


async def _uses_of_customer(
    conn: Connection, shop: Shop, rows: Iterable[Row], by: Buying
) -> dict[UUID, int]:
    limited = [row.id for row in rows if row.usage_limit_per_customer is not None]
    if not limited or by == (None, None):
        return {}
    return await queries.uses_of_customer(conn, shop.tenant.id, limited, by.customer_id, by.email)


async def is_new(conn: Connection, shop: Shop, by: Buying) -> bool:
    """Whether a customer has no order yet, by account or e-mail address."""
    return not await queries.has_ordered(conn, shop.tenant.id, by.customer_id, by.email)


# Their use --------------------------------------------------------------------------------------


class Use(NamedTuple):
    """What an order uses of a promotion."""

    promotion_id: UUID
    code: str | None
    amount: Decimal


async def hold(
    tx: Connection,
    shop: Shop,
    now: Live,
    codes: Sequence[CartCode],
    uses: Sequence[Use],
    held: set[object],
) -> bool:
    """Locks what counts the uses of these promotions until the end of the transaction, but for what
    is `held` already: nobody else uses them up meanwhile. Locks come in one order, and before those
    of stock. False: nothing more had to be locked. Otherwise their uses have to be read again."""
    rows, of_code = _rows(now, codes)
    keys: set[tuple[UUID, str]] = set()
    by_customer: set[UUID] = set()
    for use in uses:
        row = rows[use.promotion_id]
        keys |= {(row.id, key) for key in _keys(row, of_code.get(row.id), _today(shop))}
        if row.usage_limit_per_customer is not None:
            by_customer.add(row.id)
    if by_customer := by_customer - held:
        await queries.hold_customer(tx, shop.tenant.id, sorted(by_customer))
    if keys := keys - held:
        await queries.hold_uses(tx, shop.tenant.id, sorted(keys))
    held |= keys | by_customer
    return bool(keys or by_customer)


def _rows(now: Live, codes: Sequence[CartCode]) -> tuple[dict[UUID, Row], dict[UUID, CartCode]]:
    of_code = {code.promotion.id: code for code in codes if code.promotion is not None}
    rows = {
        **now.rows,
        **{each: code.promotion for each, code in of_code.items() if code.promotion},
    }
    return rows, of_code


def redemptions(
    shop: Shop, now: Live, codes: Sequence[CartCode], uses: Sequence[Use]
) -> list[Redemption]:
    """What an order is written with, for what it uses."""
    rows, of_code = _rows(now, codes)
    return [
        Redemption(
            promotion_id=use.promotion_id,
            code=use.code,
            amount=use.amount,
            keys=list(_keys(rows[use.promotion_id], of_code.get(use.promotion_id), _today(shop))),
        )
        for use in uses
    ]


async def count(tx: Connection, shop: Shop, redeemed: Sequence[Redemption]) -> None:
    """Counts what an order uses, where it is limited; `hold` comes first."""
    keys = [(each.promotion_id, key) for each in redeemed for key in each.keys]
    if keys:
        await queries.count(tx, shop.tenant.id, keys)


async def release(tx: Connection, shop: Shop, order: UUID) -> None:
    """Gives back what an order has used: it was cancelled, or never paid. The order is locked, so
    nobody else does."""
    keys = await queries.counted(tx, shop.tenant.id, order)
    if keys:  # locked in the order of `hold`, or two could wait for each other
        await queries.hold_uses(tx, shop.tenant.id, sorted(keys))
    await queries.release(tx, shop.tenant.id, order)
