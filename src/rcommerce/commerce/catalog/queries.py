"""SQL that reads the catalogue. A product, and a list, is one statement: PostgreSQL builds the
JSON, and its bytes are the response."""

from typing import Any
from uuid import UUID

from rcommerce.commerce.catalog.schema import Priced, ProductFilter
from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.database import Connection

# Available units of a product: null if none of its variants is tracked.
_STOCK = """(
    select sum(level.on_hand - level.reserved)
      from variant v
      join inventory_level level on (level.tenant_id, level.variant_id) = (v.tenant_id, v.id)
     where (v.tenant_id, v.product_id) = (t.tenant_id, t.id) and v.tracks_inventory)"""

_CATEGORY = """(
    select json_build_object('id', c.id, 'name', c.name, 'slug', c.slug)
      from category c where (c.tenant_id, c.id) = (t.tenant_id, t.category_id))"""

# Renditions are only computed for images that have some: calling a function for each image would
# cost PostgreSQL half as much as the rest.
_DETAIL = f"""
    select t.version::text, json_build_object('product', json_build_object(
        'id', t.id,
        'title', t.title,
        'slug', t.slug,
        'description', t.description,
        'short_description', t.short_description,
        'product_type', t.product_type,
        'vendor', t.vendor,
        'tags', to_json(t.tags),
        'status', t.status,
        'is_active', t.status = 'active',
        'is_featured', t.is_featured,
        'price', t.price::text,
        'compare_at_price', t.compare_at_price::text,
        'currency', t.currency,
        'inventory_quantity', variants.stock,
        'inventory_policy', variants.policy,
        'requires_shipping', t.requires_shipping,
        'weight', t.weight::text,
        'weight_unit', t.weight_unit,
        'seo_title', t.seo_title,
        'seo_description', t.seo_description,
        'meta_fields', t.meta_fields,
        'created_at', rfc3339(t.created_at),
        'updated_at', rfc3339(t.updated_at),
        'published_at', rfc3339(t.published_at),
        'options', t.options,
        'variants', variants.list,
        'images', (
            select coalesce(json_agg(json_build_object(
                'id', i.id, 'src', image_src(i.src, i.media_id, %%(media)s),
                'alt_text', i.alt_text, 'width', i.width, 'height', i.height,
                'position', i.position, 'media_id', i.media_id,
                'renditions', case when m.renditions is null then '{{}}'::json
                                   else media_renditions(m.renditions, %%(media)s) end)
                order by i.position, i.id), '[]')
              from product_image i
              left join media m on (m.tenant_id, m.id) = (i.tenant_id, i.media_id)
             where (i.tenant_id, i.product_id) = (t.tenant_id, t.id)),
        'category', {_CATEGORY},
        'collections', (
            select coalesce(json_agg(json_build_object(
                'id', c.id, 'title', c.title, 'slug', c.slug) order by c.position, c.title), '[]')
              from collection_product m
              join collection c on (c.tenant_id, c.id) = (m.tenant_id, m.collection_id)
             where (m.tenant_id, m.product_id) = (t.tenant_id, t.id) and c.is_active),
        'categories', case when t.category_id is null then '[]'::json else (
            with recursive path as (
                select c.id, c.parent_id, c.name, c.slug, 0 as depth
                  from category c where (c.tenant_id, c.id) = (t.tenant_id, t.category_id)
                union all
                select c.id, c.parent_id, c.name, c.slug, path.depth + 1
                  from path
                  join category c on (c.tenant_id, c.id) = (t.tenant_id, path.parent_id)
            )
            select json_agg(json_build_object('id', id, 'name', name, 'slug', slug)
                            order by depth desc) from path) end
    ))
      from product t
     cross join lateral (
        select coalesce(json_agg(variant.json order by variant.position, variant.id), '[]') as list,
               sum(variant.stock) as stock,
               min(variant.inventory_policy) as policy
          from (
            select v.id, v.position, v.inventory_policy, levels.stock,
                   json_build_object(
                       'id', v.id, 'title', v.title, 'sku', v.sku, 'barcode', v.barcode,
                       'price', v.price::text, 'compare_at_price', v.compare_at_price::text,
                       'option_values', v.option_values, 'inventory_quantity', levels.stock,
                       'inventory_policy', v.inventory_policy, 'position', v.position,
                       'weight', v.weight::text, 'hs_code', v.hs_code, 'image_id', v.image_id
                       %(cost)s) as json
              from variant v
              left join lateral (
                select coalesce(sum(level.on_hand - level.reserved), 0) as stock
                  from inventory_level level
                 where (level.tenant_id, level.variant_id) = (v.tenant_id, v.id)) levels
                on v.tracks_inventory
             where (v.tenant_id, v.product_id) = (t.tenant_id, t.id)) variant
        ) variants
     where t.tenant_id = %%(tenant)s and %(which)s
    """
_WHICH = {
    "id": "t.id = %(key)s::uuid",
    "slug": "t.slug = %(key)s",
}
_COST = ", 'cost_price', v.cost_price::text"
# Built once: the four statements that read a product.
DETAIL = {
    (by, staff): _DETAIL
    % {
        "cost": _COST if staff else "",
        "which": which if staff else f"{which} and t.status = 'active'",
    }
    for by, which in _WHICH.items()
    for staff in (False, True)
}


async def product(
    conn: Connection, tenant: UUID, key: str, media: str, *, by: str, staff: bool
) -> tuple[str, bytes] | None:
    """A product's version and JSON, `by` its "id" or "slug". Only staff see drafts. URLs of uploads
    begin with `media`."""
    row = await conn.raw_row(DETAIL[by, staff], {"tenant": tenant, "key": key, "media": media})
    if row is None:
        return None
    version, body = row
    return version.decode(), body


_ROW = f"""json_build_object(
    'id', t.id,
    'title', t.title,
    'slug', t.slug,
    'description', t.description,
    'price', t.price::text,
    'compare_at_price', t.compare_at_price::text,
    'currency', t.currency,
    'category', {_CATEGORY},
    'tags', to_json(t.tags),
    'is_active', t.status = 'active',
    'is_featured', t.is_featured,
    'inventory_quantity', {_STOCK},
    'images', (
        select coalesce(json_agg(json_build_object(
            'id', i.id, 'src', image_src(i.src, i.media_id, %(media)s), 'alt_text', i.alt_text)
            order by i.position, i.id), '[]')
          from product_image i where (i.tenant_id, i.product_id) = (t.tenant_id, t.id)),
    'created_at', rfc3339(t.created_at))"""

CODES = 100  # most products that are matched by the prefix of a SKU, and of a barcode
LEAST_CODE = 3  # characters of the shortest prefix


def _coded(column: str) -> str:
    """The products with a variant whose code (in lower case) equals the term or begins with it,
    with operators that the index supports whatever the database's collation."""
    return f"""
        (select v.product_id, lower(v.{column}) = code.whole as is_whole
           from code
           join variant v
             on v.tenant_id = %(tenant)s
            and lower(v.{column}) ~>=~ code.whole
            and lower(v.{column}) ~<=~ code.last
          order by lower(v.{column}) using ~<~
          limit {CODES})"""


# The search term: as a code, and as words; similar words are only looked up if the term is no code.
# Computed once per statement.
_SOUGHT = f"""
    code as materialized (
        select whole, whole || case when length(whole) >= {LEAST_CODE}
                                    then chr(1114111) else '' end as last
          from (select lower(btrim(%(q)s)) as whole) _),
    coded as materialized (
        select product_id, bool_or(is_whole) as is_whole
          from ({_coded("sku")} union all {_coded("barcode")}) _
         group by product_id),
    sought as materialized (
        select case when exists (select from coded) then websearch_to_tsquery('simple', %(q)s)
                    else search_query(%(tenant)s, %(q)s) end as query),"""
_CODED = "t.id = any(array(select product_id from coded))"
_WHOLE = "t.id = any(array(select product_id from coded where is_whole))"
_WORDED = "t.search @@ (select query from sought)"
# Matches of an exact code, of a code's prefix, of words.
_RANK = f"""(case when {_WHOLE} then 2 when {_CODED} then 1 else 0 end
    + ts_rank(t.search, (select query from sought)))::float8"""
_ID = Key("t.id", "uuid")
KEYS = {
    "title": (Key("t.title", "text"), _ID),
    "price": (Key("t.price", "numeric"), _ID),
    "created_at": (Key("t.created_at", "timestamptz"), _ID),
    "updated_at": (Key("t.updated_at", "timestamptz"), _ID),
    "relevance": (Key(_RANK, "float8"), _ID),
}
_FOR_SALE = """exists (
    select from variant v
      left join inventory_level level on (level.tenant_id, level.variant_id) = (v.tenant_id, v.id)
     where (v.tenant_id, v.product_id) = (t.tenant_id, t.id)
       and (not v.tracks_inventory or v.inventory_policy = 'continue'
            or level.on_hand > level.reserved))"""
_CONDITIONS = {
    "status": "t.status = %(status)s",
    "product_type": "t.product_type = %(product_type)s",
    "vendor": "t.vendor = %(vendor)s",
    "min_price": "t.price >= %(min_price)s",
    "max_price": "t.price <= %(max_price)s",
    "tags": "t.tags @> %(tags)s::text[]",
    "ids": "t.id = any(%(ids)s::uuid[])",
    "collection_id": """exists (
        select from collection_product m
         where (m.tenant_id, m.collection_id, m.product_id)
               = (t.tenant_id, %(collection_id)s, t.id))""",
    "category": """t.category_id = any(array(
        with recursive tree as (
            select c.id from category c
             where c.tenant_id = %(tenant)s
               and (c.slug = %(category)s or c.id::text = %(category)s)
            union
            select c.id from tree
              join category c on (c.tenant_id, c.parent_id) = (%(tenant)s, tree.id)
        ) select id from tree))""",
    "is_featured": "t.is_featured = %(is_featured)s",
}


async def products(
    conn: Connection, tenant: UUID, wanted: ProductFilter, window: Window, media: str
) -> bytes:
    """A page of products as JSON; URLs of uploads begin with `media`."""
    where = ["t.tenant_id = %(tenant)s"]
    params: dict[str, Any] = {"tenant": tenant, "media": media, **window.params()}
    for name, condition in _CONDITIONS.items():
        value = getattr(wanted, name)
        if value is not None and value != ():
            where.append(condition)
            params[name] = list(value) if isinstance(value, tuple) else value
    if wanted.inventory_status is not None:
        where.append(_FOR_SALE if wanted.inventory_status == "in_stock" else f"not {_FOR_SALE}")
    if wanted.is_featured:
        where.append("t.is_featured")  # as in the partial index's condition
    ranked: list[str] = []
    if wanted.q is not None:
        params["q"] = wanted.q
        others = " and ".join(where)
        ranked = [f"{others} and {_CODED}", f"{others} and {_WORDED} and not {_CODED}"]
        where.append(f"({_CODED} or {_WORDED})")
    sql = list_sql(
        name="products",
        table="product",
        where=" and ".join(where),
        row=_ROW,
        keys=KEYS[wanted.sort],
        descending=wanted.descending,
        window=window,
        given=_SOUGHT if wanted.q is not None else "",
        ranked=ranked,
    )
    return await conn.json(sql, params)


async def priced(conn: Connection, tenant: UUID, variants: list[UUID]) -> list[Priced]:
    """These variants' present data; missing ones are left out."""
    return await conn.records(
        Priced,
        """
        select v.product_id, v.id as variant_id, p.title, v.title as variant_title, v.sku,
               v.price, v.currency, p.requires_shipping, p.status = 'active' as is_active,
               p.category_id, array(
                   select n.collection_id from collection_product n
                    where (n.tenant_id, n.product_id) = (p.tenant_id, p.id)) as collection_ids
          from variant v
          join product p on (p.tenant_id, p.id) = (v.tenant_id, v.product_id)
         where v.tenant_id = %(tenant)s and v.id = any(%(variants)s::uuid[])
        """,
        {"tenant": tenant, "variants": variants},
    )


async def only_variants(
    conn: Connection, tenant: UUID, products: list[UUID]
) -> list[tuple[UUID, UUID, int]]:
    """(product, its first variant, number of variants) of active products."""
    rows = await conn.all(
        """
        select v.product_id, (array_agg(v.id order by v.position, v.id))[1], count(*)
          from variant v
          join product p on (p.tenant_id, p.id) = (v.tenant_id, v.product_id)
         where v.tenant_id = %(tenant)s and v.product_id = any(%(products)s::uuid[])
           and p.status = 'active'
         group by v.product_id
        """,
        {"tenant": tenant, "products": products},
    )
    return [(row[0], row[1], row[2]) for row in rows]
