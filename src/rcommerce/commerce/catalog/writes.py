"""SQL that changes the catalogue. Every change of a product or its parts increments the product's
version, which If-Match compares."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rcommerce.database import Connection


async def lock_product(conn: Connection, tenant: UUID, product: UUID) -> Any:
    """(version, currency) of a product, whose row this transaction locks."""
    return await conn.one_or_none(
        """
        select p.version, p.currency from product p
         where (p.tenant_id, p.id) = (%(tenant)s, %(product)s)
           for update
        """,
        {"tenant": tenant, "product": product},
    )


async def has_variants(conn: Connection, tenant: UUID, product: UUID) -> bool:
    """Whether a product has any variant left."""
    return bool(
        await conn.value(
            """
            select exists (
                select from variant v
                 where (v.tenant_id, v.product_id) = (%(tenant)s, %(product)s))
            """,
            {"tenant": tenant, "product": product},
        )
    )


async def update_product(
    conn: Connection, tenant: UUID, product: UUID, values: Mapping[str, Any]
) -> None:
    """Sets columns of a product."""
    await _update(conn, "product", tenant, product, values)


async def update_variant(
    conn: Connection, tenant: UUID, product: UUID, variant: UUID, values: Mapping[str, Any]
) -> bool:
    """Sets columns of a product's variant; False if there is none."""
    return await _update(conn, "variant", tenant, variant, values, product)


async def update_image(
    conn: Connection, tenant: UUID, product: UUID, image: UUID, values: Mapping[str, Any]
) -> bool:
    """Sets columns of a product's image; False if there is none."""
    return await _update(conn, "product_image", tenant, image, values, product)


async def delete_product(conn: Connection, tenant: UUID, product: UUID) -> bool:
    """Deletes a product with everything that belongs to it; orders keep their copies."""
    return bool(
        await conn.execute(
            "delete from product where (tenant_id, id) = (%(tenant)s, %(product)s)",
            {"tenant": tenant, "product": product},
        )
    )


async def delete_variant(conn: Connection, tenant: UUID, product: UUID, variant: UUID) -> bool:
    """Deletes a variant; False if the product has no such one."""
    return bool(
        await conn.execute(
            """
            delete from variant
             where (tenant_id, product_id, id) = (%(tenant)s, %(product)s, %(variant)s)
            """,
            {"tenant": tenant, "product": product, "variant": variant},
        )
    )


async def has_image(conn: Connection, tenant: UUID, product: UUID, image: UUID) -> bool:
    """Whether the image is one of the product's."""
    return bool(
        await conn.value(
            """
            select true from product_image
             where (tenant_id, product_id, id) = (%(tenant)s, %(product)s, %(image)s)
            """,
            {"tenant": tenant, "product": product, "image": image},
        )
    )


async def delete_image(conn: Connection, tenant: UUID, product: UUID, image: UUID) -> bool:
    """Deletes an image; False if the product has no such one."""
    return bool(
        await conn.execute(
            """
            delete from product_image
             where (tenant_id, product_id, id) = (%(tenant)s, %(product)s, %(image)s)
            """,
            {"tenant": tenant, "product": product, "image": image},
        )
    )


async def touch(conn: Connection, tenant: UUID, product: UUID) -> None:
    """After a change: increments the version, and updates the price that lists show, its lowest
    variant's."""
    await conn.execute(
        """
        update product p
           set version = p.version + 1,
               updated_at = now(),
               price = coalesce(low.price, p.price),
               compare_at_price = case when low.price is null then p.compare_at_price
                                       else low.compare_at_price end,
               published_at = case when p.status = 'active' then coalesce(p.published_at, now())
                                   else p.published_at end
          from (select 1) one
          left join lateral (
            select v.price, v.compare_at_price from variant v
             where (v.tenant_id, v.product_id) = (%(tenant)s, %(product)s)
             order by v.price, v.position, v.id limit 1) low on true
         where (p.tenant_id, p.id) = (%(tenant)s, %(product)s)
        """,
        {"tenant": tenant, "product": product},
    )


async def first_variant(conn: Connection, tenant: UUID, product: UUID) -> UUID | None:
    """The product's variant if it has exactly one."""
    found = await conn.all(
        "select id from variant where (tenant_id, product_id) = (%(tenant)s, %(product)s) limit 2",
        {"tenant": tenant, "product": product},
    )
    return found[0][0] if len(found) == 1 else None


async def _update(
    conn: Connection,
    table: str,
    tenant: UUID,
    row: UUID,
    values: Mapping[str, Any],
    product: UUID | None = None,
) -> bool:
    """Sets `values` (columns of `table`, never client input) in one row."""
    where = "(tenant_id, id) = (%(_tenant)s, %(_row)s)"
    if product is not None:
        where += " and product_id = %(_product)s"
    assignments = ", ".join(f"{name} = %({name})s" for name in values) or "id = id"
    return bool(
        await conn.execute(
            f"update {table} set {assignments} where {where}",
            {**values, "_tenant": tenant, "_row": row, "_product": product},
        )
    )
