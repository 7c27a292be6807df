"""Writes many products at once, for imports: a few statements per batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from rcommerce import ids
from rcommerce.commerce.imports.shopify import Parsed, Variant
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection, Jsonb

Row = tuple[UUID, Parsed]  # with the id of its product


@dataclass(slots=True)
class Counts:
    """How many products were created, updated and unchanged."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    variants: int = 0

    def add(self, other: "Counts") -> None:
        """Adds another result."""
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.variants += other.variants


async def sku_owners(
    conn: Connection, tenant: UUID, skus: Sequence[str]
) -> dict[str, tuple[str, Any]]:
    """Which of these SKUs are in use: (the product's slug, the variant's options)."""
    rows = await conn.all(
        """
        select v.sku, p.slug, v.option_values
          from variant v join product p on (p.tenant_id, p.id) = (v.tenant_id, v.product_id)
         where v.tenant_id = %(tenant)s and v.sku = any(%(skus)s::text[])
        """,
        {"tenant": tenant, "skus": list(skus)},
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def analyze(shop: Shop) -> None:
    """Updates PostgreSQL's statistics, so that it plans for the tables' present sizes."""
    async with shop.write() as tx:
        await tx.execute("analyze product, variant, product_image, inventory_level")


async def upsert(
    tx: Connection,
    tenant: UUID,
    currency: str,
    found: Sequence[Parsed],
    *,
    set_stock: bool,
    actor: str,
) -> Counts:
    """Creates or updates these products, matched by slug, and their variants, matched by options.

    Unchanged rows are not written, so a second run changes nothing. Stock is set for new variants;
    for existing ones only with `set_stock`, since it would undo later sales.
    """
    written = await _upsert_products(tx, tenant, currency, found)
    known = await tx.all(
        """
        select slug, id from product
         where tenant_id = %(tenant)s and slug = any(%(slugs)s::text[])
        """,
        {"tenant": tenant, "slugs": [each.product.slug for each in found]},
    )
    by_slug: dict[str, UUID] = {row[0]: row[1] for row in known}
    rows = [(by_slug[each.product.slug or ""], each) for each in found]
    changed = set(written)
    # New products have nothing to compare with.
    new = [(product, each) for product, each in rows if written.get(product)]
    old = [(product, each) for product, each in rows if not written.get(product)]
    images = await _add_images(tx, tenant, new)
    if old:
        changed |= await _set_images(tx, tenant, old)
        images |= await _images(tx, tenant, old)
    variants = await _upsert_variants(tx, tenant, currency, rows, images)
    changed |= {row[1] for row in variants}
    fresh = {row[0] for row in variants if row[2]}
    await _add_stock(tx, tenant, fresh, rows, actor)
    if set_stock and old:
        await _set_stock(tx, tenant, old, actor)
    if touched := [product for product in changed if not written.get(product)]:
        await _touch(tx, tenant, touched)
    created = sum(written.values())
    return Counts(
        created=created,
        updated=len(changed) - created,
        unchanged=len(found) - len(changed),
        variants=len(variants),
    )


async def _upsert_products(
    tx: Connection, tenant: UUID, currency: str, found: Sequence[Parsed]
) -> dict[UUID, bool]:
    """Those that were created (True) or updated (False)."""
    rows = await tx.all(
        """
        insert into product as kept
            (tenant_id, id, title, slug, description, product_type, vendor, tags, status, currency,
             price, compare_at_price, requires_shipping, weight, weight_unit, seo_title,
             seo_description, options, meta_fields, published_at)
        select %(tenant)s, r.id, r.title, r.slug, r.description, r.product_type, r.vendor, r.tags,
               r.status, %(currency)s, r.price, r.compare_at_price, r.requires_shipping, r.weight,
               r.weight_unit, r.seo_title, r.seo_description, r.options, r.meta_fields,
               case when r.status = 'active' then now() end
          from jsonb_to_recordset(%(rows)s) as r (
               id uuid, title text, slug text, description text, product_type text, vendor text,
               tags text[], status text, price numeric, compare_at_price numeric,
               requires_shipping boolean, weight numeric, weight_unit text, seo_title text,
               seo_description text, options jsonb, meta_fields jsonb)
         order by r.slug
        on conflict (tenant_id, slug) do update
           set title = excluded.title, description = excluded.description,
               product_type = excluded.product_type, vendor = excluded.vendor,
               tags = excluded.tags, status = excluded.status,
               requires_shipping = excluded.requires_shipping, weight = excluded.weight,
               weight_unit = excluded.weight_unit, seo_title = excluded.seo_title,
               seo_description = excluded.seo_description, options = excluded.options,
               meta_fields = kept.meta_fields || excluded.meta_fields
         where not kept.meta_fields @> excluded.meta_fields
            or (kept.title, kept.description, kept.product_type, kept.vendor, kept.tags,
                kept.status, kept.requires_shipping, kept.weight, kept.weight_unit, kept.seo_title,
                kept.seo_description, kept.options)
               is distinct from
               (excluded.title, excluded.description, excluded.product_type, excluded.vendor,
                excluded.tags, excluded.status, excluded.requires_shipping, excluded.weight,
                excluded.weight_unit, excluded.seo_title, excluded.seo_description,
                excluded.options)
        returning kept.id, kept.xmax = 0
        """,
        {
            "tenant": tenant,
            "currency": currency,
            "rows": Jsonb([_product_row(each) for each in found]),
        },
    )
    return {row[0]: row[1] for row in rows}


def _product_row(parsed: Parsed) -> dict[str, Any]:
    product = parsed.product
    cheapest = min(parsed.variants, key=lambda variant: variant.price)
    return {
        "id": str(ids.new_id()),
        "title": product.title,
        "slug": product.slug,
        "description": product.description,
        "product_type": product.product_type,
        "vendor": product.vendor,
        "tags": product.tags,
        "status": product.status,
        "price": str(cheapest.price),
        "compare_at_price": _text(cheapest.compare_at_price),
        "requires_shipping": product.requires_shipping,
        "weight": _text(product.weight),
        "weight_unit": product.weight_unit,
        "seo_title": product.seo_title,
        "seo_description": product.seo_description,
        "options": msgspec.to_builtins(product.options),
        "meta_fields": product.meta_fields,
    }


async def _upsert_variants(
    tx: Connection,
    tenant: UUID,
    currency: str,
    rows: Sequence[Row],
    images: Mapping[tuple[UUID, str], UUID],
) -> list[tuple[Any, ...]]:
    """(variant, product, whether it is new) of those that were created or updated. A variant whose
    row has no image keeps its own."""
    values = [
        _variant_row(product, variant, position, images)
        for product, each in rows
        for position, variant in enumerate(each.variants, start=1)
    ]
    return await tx.all(
        """
        insert into variant as kept
            (tenant_id, id, product_id, title, sku, barcode, currency, price, compare_at_price,
             cost_price, option_values, tracks_inventory, inventory_policy, weight, hs_code,
             image_id, position)
        select %(tenant)s, r.id, r.product_id, r.title, r.sku, r.barcode, %(currency)s, r.price,
               r.compare_at_price, r.cost_price, r.option_values, r.tracks_inventory,
               r.inventory_policy, r.weight, r.hs_code, r.image_id, r.position
          from jsonb_to_recordset(%(rows)s) as r (
               id uuid, product_id uuid, title text, sku text, barcode text, price numeric,
               compare_at_price numeric, cost_price numeric, option_values jsonb,
               tracks_inventory boolean, inventory_policy text, weight numeric, hs_code text,
               image_id uuid, position int)
         order by r.product_id, r.position
        on conflict (tenant_id, product_id, option_values) do update
           set title = excluded.title, sku = excluded.sku, barcode = excluded.barcode,
               price = excluded.price, compare_at_price = excluded.compare_at_price,
               cost_price = excluded.cost_price, tracks_inventory = excluded.tracks_inventory,
               inventory_policy = excluded.inventory_policy, weight = excluded.weight,
               hs_code = coalesce(excluded.hs_code, kept.hs_code),
               image_id = coalesce(excluded.image_id, kept.image_id),
               position = excluded.position, updated_at = now()
         where (kept.title, kept.sku, kept.barcode, kept.price, kept.compare_at_price,
                kept.cost_price, kept.tracks_inventory, kept.inventory_policy, kept.weight,
                kept.hs_code, kept.image_id, kept.position)
               is distinct from
               (excluded.title, excluded.sku, excluded.barcode, excluded.price,
                excluded.compare_at_price, excluded.cost_price, excluded.tracks_inventory,
                excluded.inventory_policy, excluded.weight,
                coalesce(excluded.hs_code, kept.hs_code),
                coalesce(excluded.image_id, kept.image_id), excluded.position)
        returning kept.id, kept.product_id, kept.xmax = 0
        """,
        {"tenant": tenant, "currency": currency, "rows": Jsonb(values)},
    )


def _variant_row(
    product: UUID,
    variant: Variant,
    position: int,
    images: Mapping[tuple[UUID, str], UUID],
) -> dict[str, Any]:
    variant.id = ids.new_id()
    image = images.get((product, variant.image_src or ""))
    return {
        "id": str(variant.id),
        "product_id": str(product),
        "title": variant.title,
        "sku": variant.sku,
        "barcode": variant.barcode,
        "price": str(variant.price),
        "compare_at_price": _text(variant.compare_at_price),
        "cost_price": _text(variant.cost_price),
        "option_values": variant.option_values,
        "tracks_inventory": variant.tracks_inventory,
        "inventory_policy": variant.inventory_policy,
        "weight": _text(variant.weight),
        "hs_code": variant.hs_code,
        "image_id": _text(image),
        "position": position,
    }


async def _add_images(
    tx: Connection, tenant: UUID, new: Sequence[Row]
) -> dict[tuple[UUID, str], UUID]:
    """Adds images to products that have none: the ids by product and URL."""
    rows = list(_image_rows(new))
    if rows:
        await tx.execute(
            """
            insert into product_image (tenant_id, id, product_id, src, alt_text, position)
            select %(tenant)s, r.*
              from jsonb_to_recordset(%(rows)s) as r (
                   id uuid, product_id uuid, src text, alt_text text, position int)
            """,
            {"tenant": tenant, "rows": Jsonb(rows)},
        )
    return {(UUID(row["product_id"]), row["src"]): UUID(row["id"]) for row in rows}


async def _images(tx: Connection, tenant: UUID, old: Sequence[Row]) -> dict[tuple[UUID, str], UUID]:
    """The images of products that are the image of a variant."""
    products = [product for product, each in old if any(v.image_src for v in each.variants)]
    if not products:
        return {}
    found = await tx.all(
        """
        select product_id, src, id from product_image
         where tenant_id = %(tenant)s and product_id = any(%(products)s::uuid[])
        """,
        {"tenant": tenant, "products": products},
    )
    return {(row[0], row[1]): row[2] for row in found}


def _image_rows(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for product, each in rows:
        for image in each.product.images:
            yield {
                "id": str(ids.new_id()),
                "product_id": str(product),
                "src": image.src,
                "alt_text": image.alt_text,
                "position": image.position,
            }


async def _set_images(tx: Connection, tenant: UUID, old: Sequence[Row]) -> set[UUID]:
    """Replaces each product's images by those of the file; returns the products that changed."""
    found = await tx.all(
        """
        with wanted as materialized (
            select * from jsonb_to_recordset(%(rows)s) as r (
                id uuid, product_id uuid, src text, alt_text text, position int)
        ), gone as (
            delete from product_image i
             where i.tenant_id = %(tenant)s and i.product_id = any(%(products)s::uuid[])
               and not exists (
                   select from wanted w
                    where (w.product_id, w.src, w.alt_text, w.position)
                          = (i.product_id, i.src, i.alt_text, i.position))
            returning i.product_id
        ), made as (
            insert into product_image (tenant_id, id, product_id, src, alt_text, position)
            select %(tenant)s, w.id, w.product_id, w.src, w.alt_text, w.position
              from wanted w
             where not exists (
                   select from product_image i
                    where (i.tenant_id, i.product_id) = (%(tenant)s, w.product_id)
                      and (i.src, i.alt_text, i.position) = (w.src, w.alt_text, w.position))
            returning product_id
        )
        select product_id from gone union select product_id from made
        """,
        {
            "tenant": tenant,
            "rows": Jsonb(list(_image_rows(old))),
            "products": [product for product, _ in old],
        },
    )
    return {row[0] for row in found}


async def _add_stock(
    tx: Connection, tenant: UUID, fresh: set[UUID], rows: Sequence[Row], actor: str
) -> None:
    """Sets the stock of new variants at the default location, with movements."""
    values = [
        {"variant_id": str(variant.id), "on_hand": variant.inventory_quantity}
        for _, each in rows
        for variant in each.variants
        if variant.id in fresh and variant.tracks_inventory
    ]
    if not values:
        return
    await tx.execute(
        """
        with made as (
            insert into inventory_level (tenant_id, variant_id, location_id, on_hand)
            select %(tenant)s, r.variant_id, place.id, r.on_hand
              from jsonb_to_recordset(%(rows)s) as r (variant_id uuid, on_hand bigint)
              join location place on place.tenant_id = %(tenant)s and place.is_default
            returning variant_id, location_id, on_hand
        )
        insert into inventory_movement
            (tenant_id, id, variant_id, location_id, kind, on_hand_change, reason, actor)
        select %(tenant)s, new_id(), variant_id, location_id, 'set', on_hand, 'import', %(actor)s
          from made where on_hand <> 0
        """,
        {"tenant": tenant, "rows": Jsonb(values), "actor": actor},
    )


async def _set_stock(tx: Connection, tenant: UUID, old: Sequence[Row], actor: str) -> None:
    """Sets on_hand at the default location, never below what is reserved, with movements."""
    rows = [
        {
            "product_id": str(product),
            "option_values": variant.option_values,
            "on_hand": variant.inventory_quantity,
        }
        for product, each in old
        for variant in each.variants
        if variant.tracks_inventory
    ]
    await tx.execute(
        """
        with wanted as materialized (
            select v.id as variant_id, place.id as location_id, r.on_hand
              from jsonb_to_recordset(%(rows)s) as r (
                   product_id uuid, option_values jsonb, on_hand bigint)
              join variant v on (v.tenant_id, v.product_id, v.option_values)
                                = (%(tenant)s, r.product_id, r.option_values)
              join location place on place.tenant_id = %(tenant)s and place.is_default
        ), before as materialized (
            select level.variant_id, level.location_id, level.on_hand
              from inventory_level level
              join wanted w using (variant_id, location_id)
             where level.tenant_id = %(tenant)s
             order by 1, 2
               for update of level
        ), moved as (
            insert into inventory_level as level (tenant_id, variant_id, location_id, on_hand)
            select %(tenant)s, variant_id, location_id, on_hand from wanted order by 2, 3
            on conflict (tenant_id, variant_id, location_id) do update
               set on_hand = greatest(excluded.on_hand, level.reserved), updated_at = now()
             where level.on_hand <> greatest(excluded.on_hand, level.reserved)
            returning level.variant_id, level.location_id, level.on_hand
        )
        insert into inventory_movement
            (tenant_id, id, variant_id, location_id, kind, on_hand_change, reason, actor)
        select %(tenant)s, new_id(), m.variant_id, m.location_id, 'set',
               m.on_hand - coalesce(b.on_hand, 0), 'import', %(actor)s
          from moved m left join before b using (variant_id, location_id)
         where m.on_hand <> coalesce(b.on_hand, 0)
        """,
        {"tenant": tenant, "rows": Jsonb(rows), "actor": actor},
    )


async def _touch(tx: Connection, tenant: UUID, products: Sequence[UUID]) -> None:
    """Increments the version of products that have changed, and updates their lowest price."""
    await tx.execute(
        """
        update product p
           set version = p.version + 1, updated_at = now(), price = low.price,
               compare_at_price = low.compare_at_price,
               published_at = case when p.status = 'active' then coalesce(p.published_at, now())
                                   else p.published_at end
          from unnest(%(products)s::uuid[]) as w (id)
         cross join lateral (
            select v.price, v.compare_at_price from variant v
             where (v.tenant_id, v.product_id) = (%(tenant)s, w.id)
             order by v.price, v.position, v.id limit 1) low
         where (p.tenant_id, p.id) = (%(tenant)s, w.id)
        """,
        {"tenant": tenant, "products": list(products)},
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
