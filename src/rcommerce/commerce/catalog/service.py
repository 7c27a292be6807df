"""The rules of the catalogue."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType, to_builtins

from rcommerce import clock, ids, money
from rcommerce.commerce import paging, slugs, versions
from rcommerce.commerce.catalog import queries, tags, writes
from rcommerce.commerce.catalog.queries import Offer, Shown
from rcommerce.commerce.catalog.schema import (
    ImageChange,
    NewImage,
    NewProduct,
    NewVariant,
    Priced,
    ProductChange,
    ProductFilter,
    VariantChange,
)
from rcommerce.commerce.channels import service as channels
from rcommerce.commerce.channels.schema import Channel
from rcommerce.commerce.fields import OrderLine
from rcommerce.commerce.inventory import service as inventory
from rcommerce.commerce.media import service as media
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection, Jsonb, translated
from rcommerce.errors import Conflict, FieldError, Invalid, NotFound, Unprocessable

WRITE = "products:write"
READ = "products:read"
_CONSTRAINTS = {
    "product_tenant_id_slug_key": "slug",
    "variant_sku": "sku",
    "variant_tenant_id_product_id_option_values_key": "option_values",
    "product_tenant_id_category_id_fkey": "category_id",
    "variant_image_fkey": "image_id",
}
_JSON_COLUMNS = frozenset({"options", "meta_fields", "option_values"})
LARGEST_WEIGHT = Decimal(10) ** 9


async def product(shop: Shop, key: str, channel: str | None) -> tuple[str, bytes]:
    """A product's version and JSON, by id or slug, with the prices of a channel. Raises NotFound,
    Invalid."""
    offer = await _offer(shop, channel)
    if shop.sources is not None:
        shop.sources.show(tags.OF_NO_PRODUCT)
    async with shop.read() as conn:
        found = await _product(conn, shop, key, offer)
    if shop.sources is not None:
        shop.sources.show_only(tags.of_product(found.body))
        _show_offer(shop, offer, found.until)
    return found.version, found.body


async def _offer(shop: Shop, channel: str | None) -> Offer | None:
    """The channel of a request, at this moment."""
    found = await channels.requested(shop, channel)
    return None if found is None else Offer(found.slug, clock.today())


def _show_offer(shop: Shop, offer: Offer | None, until: float | None) -> None:
    """Records what prices in a channel depend on."""
    if shop.sources is not None and offer is not None:
        shop.sources.show([channels.TAG])
        if until is not None:
            shop.sources.hold_until(until)


async def _product(conn: Connection, shop: Shop, key: str, offer: Offer | None = None) -> Shown:
    by, staff = "id" if ids.is_uuid(key) else "slug", shop.caller.may(READ)
    found = await queries.product(
        conn, shop.tenant.id, key, shop.media_url, offer, by=by, staff=staff
    )
    if found is None:
        raise NotFound("product not found")
    return found


async def products(
    shop: Shop,
    wanted: ProductFilter,
    page: int | None,
    per_page: int,
    cursor: str | None,
    channel: str | None,
) -> bytes:
    """A page of products as JSON, with the prices of a channel. Raises Invalid."""
    if wanted.sort == "relevance" and not wanted.q:
        raise Invalid.field("sort", "relevance needs a search: q")
    window = paging.window(page, per_page, cursor, queries.KEYS[wanted.sort])
    offer = await _offer(shop, channel)
    async with shop.read() as conn:
        body, until = await queries.products(
            conn, shop.tenant.id, wanted, window, shop.media_url, offer
        )
    if shop.sources is not None:
        shop.sources.show(tags.of_list(wanted, body))
        if offer is not None:
            shop.sources.show(["prices"])  # decide which products are sold there
        _show_offer(shop, offer, until)
    return body


def visible(shop: Shop, status: str | None) -> str | None:
    """The status that a list may show: only staff see anything but active products."""
    return status if shop.caller.may(READ) else "active"


async def create(shop: Shop, new: NewProduct) -> tuple[UUID, str, bytes]:
    """Creates a product; returns its id, version and JSON.

    Raises Invalid, Conflict, Unprocessable.
    """
    shop.caller.require(WRITE)
    currency = money.currency(new.currency or shop.tenant.currency)
    variants = new.variants or [_own_variant(new)]
    prices = [
        money.amount(variant.price, currency, f"variants[{number}].price")
        for number, variant in enumerate(variants)
    ]
    lowest = prices.index(min(prices))
    compare_at = variants[lowest].compare_at_price
    product_id = ids.new_id()
    values = {
        "tenant_id": shop.tenant.id,
        "id": product_id,
        "title": new.title,
        "description": new.description,
        "short_description": new.short_description,
        "product_type": new.product_type,
        "vendor": new.vendor,
        "tags": new.tags,
        "status": new.status,
        "is_featured": new.is_featured,
        "currency": currency,
        "price": prices[lowest],
        "compare_at_price": _optional(compare_at, currency, "compare_at_price"),
        "requires_shipping": new.requires_shipping,
        "weight": _weight(new.weight),
        "weight_unit": new.weight_unit,
        "seo_title": new.seo_title,
        "seo_description": new.seo_description,
        "meta_fields": Jsonb(new.meta_fields),
        "options": Jsonb(to_builtins(new.options)),
        "category_id": new.category_id,
        "published_at": clock.today() if new.status == "active" else None,
    }
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            await slugs.insert(tx, "product", values, new.slug, new.title)
            for number, variant in enumerate(variants, start=1):
                await _add_variant(tx, shop, product_id, currency, variant, number)
            for number, image in enumerate(new.images, start=1):
                await _add_image(tx, shop, product_id, image, number)
            return product_id, *await _finished(tx, shop, product_id)


def _own_variant(new: NewProduct) -> NewVariant:
    """The single variant of a product without `variants`."""
    if new.price is None:
        raise Invalid.field("price", "is required, here or in each of variants")
    return NewVariant(
        price=new.price,
        compare_at_price=new.compare_at_price,
        cost_price=new.cost_price,
        sku=new.sku,
        barcode=new.barcode,
        inventory_policy=new.inventory_policy,
        inventory_quantity=new.inventory_quantity,
    )


async def change(
    shop: Shop, product_id: UUID, data: ProductChange, if_match: str | None
) -> tuple[str, bytes]:
    """Changes a product's own fields. Raises NotFound, PreconditionFailed, Invalid, Conflict."""
    values = _columns(data, leave=("price", "compare_at_price"))
    if isinstance(data.slug, str):
        slugs.checked(data.slug)
    if isinstance(data.weight, Decimal):
        values["weight"] = _weight(data.weight)
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            currency = await _begin(tx, shop, product_id, if_match)
            await writes.update_product(tx, shop.tenant.id, product_id, values)
            await _reprice(tx, shop, product_id, currency, data)
            return await _finish(tx, shop, product_id)


async def _reprice(
    tx: Connection, shop: Shop, product_id: UUID, currency: str, data: ProductChange
) -> None:
    """A product's price is that of its variant, if it has only one."""
    prices = _prices({"price": data.price, "compare_at_price": data.compare_at_price}, currency)
    if not prices:
        return
    variant = await writes.first_variant(tx, shop.tenant.id, product_id)
    if variant is None:
        raise Unprocessable(
            "the product has several variants: set the price of each",
            fields=[FieldError("price", "belongs to the variants of this product")],
        )
    await writes.update_variant(tx, shop.tenant.id, product_id, variant, prices)


async def delete(shop: Shop, product_id: UUID, if_match: str | None) -> None:
    """Deletes a product. Raises NotFound, PreconditionFailed, Conflict."""
    async with shop.write() as tx:
        await _begin(tx, shop, product_id, if_match)
        await writes.delete_product(tx, shop.tenant.id, product_id)


async def add_variant(
    shop: Shop, product_id: UUID, new: NewVariant, if_match: str | None
) -> tuple[str, bytes]:
    """Adds a variant. Raises NotFound, PreconditionFailed, Invalid, Conflict."""
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            currency = await _begin(tx, shop, product_id, if_match)
            await _check_image(tx, shop, product_id, new.image_id)
            await _add_variant(tx, shop, product_id, currency, new, 1000)
            return await _finish(tx, shop, product_id)


async def change_variant(
    shop: Shop, product_id: UUID, variant: UUID, data: VariantChange, if_match: str | None
) -> tuple[str, bytes]:
    """Changes a variant. Raises NotFound, PreconditionFailed, Invalid, Conflict."""
    money_fields = ("price", "compare_at_price", "cost_price")
    values = _columns(data, leave=money_fields)
    with translated(_CONSTRAINTS):
        async with shop.write() as tx:
            currency = await _begin(tx, shop, product_id, if_match)
            values |= _prices({name: getattr(data, name) for name in money_fields}, currency)
            if isinstance(data.weight, Decimal):
                values["weight"] = _weight(data.weight)
            await _check_image(tx, shop, product_id, data.image_id)
            if not await writes.update_variant(tx, shop.tenant.id, product_id, variant, values):
                raise NotFound("the product has no such variant")
            return await _finish(tx, shop, product_id)


async def delete_variant(
    shop: Shop, product_id: UUID, variant: UUID, if_match: str | None
) -> tuple[str, bytes]:
    """Deletes a variant; a product keeps at least one. Raises NotFound, Conflict."""
    async with shop.write() as tx:
        await _begin(tx, shop, product_id, if_match)
        if not await writes.delete_variant(tx, shop.tenant.id, product_id, variant):
            raise NotFound("the product has no such variant")
        if not await writes.has_variants(tx, shop.tenant.id, product_id):
            raise Conflict("a product keeps at least one variant", code="last_variant")
        return await _finish(tx, shop, product_id)


async def add_image(
    shop: Shop, product_id: UUID, new: NewImage, if_match: str | None
) -> tuple[str, bytes]:
    """Adds an image, by its URL or of an upload. Raises NotFound, PreconditionFailed, Invalid,
    Unprocessable."""
    async with shop.write() as tx:
        await _begin(tx, shop, product_id, if_match)
        await _add_image(tx, shop, product_id, new, 1000)
        return await _finish(tx, shop, product_id)


async def change_image(
    shop: Shop, product_id: UUID, image: UUID, data: ImageChange, if_match: str | None
) -> tuple[str, bytes]:
    """Changes an image. Raises NotFound, PreconditionFailed."""
    async with shop.write() as tx:
        await _begin(tx, shop, product_id, if_match)
        values = _columns(data)
        if data.src is not UNSET:
            values["media_id"] = None  # it no longer shows an upload
        if not await writes.update_image(tx, shop.tenant.id, product_id, image, values):
            raise NotFound("the product has no such image")
        return await _finish(tx, shop, product_id)


async def delete_image(
    shop: Shop, product_id: UUID, image: UUID, if_match: str | None
) -> tuple[str, bytes]:
    """Deletes an image. Raises NotFound, PreconditionFailed."""
    async with shop.write() as tx:
        await _begin(tx, shop, product_id, if_match)
        if not await writes.delete_image(tx, shop.tenant.id, product_id, image):
            raise NotFound("the product has no such image")
        return await _finish(tx, shop, product_id)


async def _begin(tx: Connection, shop: Shop, product_id: UUID, if_match: str | None) -> str:
    """Begins every change of a product: checks the permission, that it exists, and its version.

    Locks the product's row, so that changes of a product happen one after another. Returns its
    currency.
    """
    shop.caller.require(WRITE)
    found = await writes.lock_product(tx, shop.tenant.id, product_id)
    if found is None:
        raise NotFound("product not found")
    versions.check(if_match, found[0], "the product")
    return str(found[1])


async def _finish(tx: Connection, shop: Shop, product_id: UUID) -> tuple[str, bytes]:
    """Ends every change: increments the version; returns the product."""
    await writes.touch(tx, shop.tenant.id, product_id)
    return await _finished(tx, shop, product_id)


async def _finished(tx: Connection, shop: Shop, product_id: UUID) -> tuple[str, bytes]:
    version, body, _ = await _product(tx, shop, str(product_id))
    return version, body


async def _add_variant(
    tx: Connection, shop: Shop, product_id: UUID, currency: str, new: NewVariant, position: int
) -> None:
    variant = ids.new_id()
    title = new.title or " / ".join(new.option_values.values()) or "Default"
    values = {
        "tenant_id": shop.tenant.id,
        "id": variant,
        "product_id": product_id,
        "title": title,
        "sku": new.sku,
        "barcode": new.barcode,
        "currency": currency,
        "price": money.amount(new.price, currency, "price"),
        "compare_at_price": _optional(new.compare_at_price, currency, "compare_at_price"),
        "cost_price": _optional(new.cost_price, currency, "cost_price"),
        "option_values": Jsonb(new.option_values),
        "tracks_inventory": new.tracks_inventory,
        "inventory_policy": new.inventory_policy,
        "weight": _weight(new.weight),
        "hs_code": new.hs_code,
        "image_id": new.image_id,
        "position": position if new.position is None else new.position,
    }
    await tx.insert("variant", values)
    if new.tracks_inventory:
        await inventory.set_initial(tx, shop, variant, new.inventory_quantity)


async def _check_image(
    tx: Connection, shop: Shop, product_id: UUID, image: UUID | None | UnsetType
) -> None:
    """Raises Unprocessable if a variant's image is not one of its product's."""
    if isinstance(image, UUID) and not await writes.has_image(
        tx, shop.tenant.id, product_id, image
    ):
        raise Unprocessable.field("image_id", "the product has no such image")


async def _add_image(
    tx: Connection, shop: Shop, product_id: UUID, new: NewImage, position: int
) -> None:
    if (new.src is None) == (new.media_id is None):
        raise Invalid.field("src", "is required, or media_id in its place")
    src, width, height = new.src, new.width, new.height
    if new.media_id is not None:
        upload = await media.image(tx, shop, new.media_id, "media_id")
        src, width, height = upload.path, upload.width, upload.height
    values = {
        "tenant_id": shop.tenant.id,
        "id": ids.new_id(),
        "product_id": product_id,
        "src": src,
        "media_id": new.media_id,
        "alt_text": new.alt_text,
        "width": width,
        "height": height,
        "position": position if new.position is None else new.position,
    }
    await tx.insert("product_image", values)


def _columns(data: Struct, leave: Sequence[str] = ()) -> dict[str, Any]:
    """The fields that the client sent, as columns."""
    values = {
        name: getattr(data, name)
        for name in data.__struct_fields__
        if name not in leave and getattr(data, name) is not UNSET
    }
    return {
        name: Jsonb(to_builtins(value)) if name in _JSON_COLUMNS else value
        for name, value in values.items()
    }


def _prices(
    given: Mapping[str, Decimal | None | UnsetType], currency: str
) -> dict[str, Decimal | None]:
    return {
        name: _optional(value, currency, name)
        for name, value in given.items()
        if not isinstance(value, UnsetType)
    }


def _optional(value: Decimal | None, currency: str, field: str) -> Decimal | None:
    return None if value is None else money.amount(value, currency, field)


def _weight(value: Decimal | None) -> Decimal | None:
    if value is None:
        return None
    if not value.is_finite() or not 0 <= value < LARGEST_WEIGHT:
        raise Invalid.field("weight", "must be at least 0 and below 1000000000")
    return round(value, 6)


async def lines(
    conn: Connection, shop: Shop, wanted: Sequence[OrderLine], channel: Channel | None
) -> list[tuple[Priced, int]]:
    """The requested variants with their present data, as the caller gets them in a channel, and the
    quantities.

    A product with a single variant may be named alone. Raises Invalid, NotFound.
    """
    alone = [line.product_id for line in wanted if line.variant_id is None]
    default: dict[UUID, tuple[UUID, int]] = {}
    if alone:
        found = await queries.only_variants(conn, shop.tenant.id, alone)
        default = {product: (variant, count) for product, variant, count in found}
    chosen: list[tuple[UUID, OrderLine]] = []
    for number, line in enumerate(wanted):
        variant = line.variant_id
        if variant is None:
            if line.product_id not in default:
                raise NotFound("product not found")
            variant, count = default[line.product_id]
            if count > 1:
                raise Invalid.field(
                    f"items[{number}].variant_id" if len(wanted) > 1 else "variant_id",
                    f"is required: the product has {count} variants",
                )
        chosen.append((variant, line))
    units: dict[UUID, int] = {}  # of each: its price may depend on them
    for variant, line in chosen:
        units[variant] = units.get(variant, 0) + line.quantity
    where = None if channel is None else (channel.id, channel.currency)
    priced = {row.variant_id: row for row in await sold(conn, shop, units, where)}
    result = []
    for variant, line in chosen:
        row = priced.get(variant)
        if row is None or row.product_id != line.product_id:
            raise NotFound("product or variant not found")
        result.append((row, line.quantity))
    return result


async def sold(
    conn: Connection, shop: Shop, units: Mapping[UUID, int], where: tuple[UUID, str] | None
) -> list[Priced]:
    """Those of these variants that are sold, as the caller gets so many units of them: in a channel
    and its currency, or without one."""
    if where is None:
        found = await queries.priced(conn, shop.tenant.id, list(units))
    else:
        found = await queries.priced_in(
            conn,
            shop.tenant.id,
            list(units.items()),
            channel=where[0],
            currency=where[1],
            customer=shop.caller.customer_id,
            at=clock.today(),
        )
    return [row for row in found if row.is_active]
