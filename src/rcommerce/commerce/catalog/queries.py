"""SQL that reads the catalogue. A product, and a list, is one statement: PostgreSQL builds the
JSON, and its bytes are the response. In a channel it also says until when that is true."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from rcommerce.commerce.catalog.schema import Priced, ProductFilter
from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.database import Connection

# Available units of a product: null if none of its variants is tracked.
_STOCK = """(
    select sum(level.on_hand - level.reserved)
      from variant v
      join inventory_level level
        on (level.tenant_id, level.variant_id) = (v.tenant_id, v.id){there}
     where (v.tenant_id, v.product_id) = (t.tenant_id, t.id) and v.tracks_inventory)"""

_CATEGORY = """(
    select json_build_object('id', c.id, 'name', c.name, 'slug', c.slug)
      from category c where (c.tenant_id, c.id) = (t.tenant_id, t.category_id))"""

# Renditions are only computed for images that have some: calling a function for each image would
# cost PostgreSQL half as much as the rest.
_DETAIL = f"""
    select t.version::text %(until)s, json_build_object('product', json_build_object(
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
        'price', %(price)s::text,
        'compare_at_price', %(compare_at)s::text,
        'currency', %(currency)s,
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
      from %(source)s
     cross join lateral (
        select coalesce(json_agg(variant.json order by variant.position, variant.id), '[]') as list,
               sum(variant.stock) as stock,
               min(variant.inventory_policy) as policy
               %(lowest)s
          from (
            select v.id, v.position, v.inventory_policy, levels.stock,%(offer)s
                   json_build_object(
                       'id', v.id, 'title', v.title, 'sku', v.sku, 'barcode', v.barcode,
                       'price', %(variant_price)s::text,
                       'compare_at_price', %(variant_compare_at)s::text,
                       'option_values', v.option_values, 'inventory_quantity', levels.stock,
                       'inventory_policy', v.inventory_policy, 'position', v.position,
                       'weight', v.weight::text, 'hs_code', v.hs_code, 'image_id', v.image_id
                       %(cost)s) as json
              from variant v %(offered)s
              left join lateral (
                select coalesce(sum(level.on_hand - level.reserved), 0) as stock
                  from inventory_level level
                 where (level.tenant_id, level.variant_id) = (v.tenant_id, v.id)%(there)s) levels
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
_PLAIN = {
    "until": "",
    "source": "product t",
    "price": "t.price",
    "compare_at": "t.compare_at_price",
    "currency": "t.currency",
    "lowest": "",
    "offer": "",
    "offered": "",
    "variant_price": "v.price",
    "variant_compare_at": "v.compare_at_price",
    "there": "",
}
_UNTIL = ", extract(epoch from next_price_change(%(tenant)s, %(at)s))::text"
_LOWEST = "order by variant.amount, variant.position, variant.id"
# In a channel a product costs what the cheapest of its variants does; those without a price there
# are left out.
_IN_CHANNEL = {
    "until": _UNTIL,
    "source": """(
        select c.*, channel_locations(c.tenant_id, c.id) as places from channel c
         where c.tenant_id = %(tenant)s and c.slug = %(channel)s and c.is_active) ch
      join product t on t.tenant_id = ch.tenant_id""",
    "price": "variants.price",
    "compare_at": "variants.compare_at_price",
    "currency": "ch.currency, 'price_includes_tax', ch.prices_include_tax",
    "lowest": f""", (array_agg(variant.amount {_LOWEST}))[1] as price,
               (array_agg(variant.compare_at {_LOWEST}))[1] as compare_at_price""",
    "offer": " offered.amount, offered.compare_at,",
    "offered": """
             cross join lateral channel_price(
                v.tenant_id, ch.id, ch.currency, '{}', v.id, 1, %(at)s) offered""",
    "variant_price": "offered.amount",
    "variant_compare_at": "offered.compare_at",
    "there": " and (ch.places is null or level.location_id = any(ch.places))",
}
_SOLD_THERE = "variants.price is not null and is_listed(t.tenant_id, ch.id, t.id, %(at)s)"


def _detail(by: str, *, staff: bool, in_channel: bool) -> str:
    conditions = [_WHICH[by]]
    if not staff:
        conditions.append("t.status = 'active'")
    if in_channel:
        conditions.append(_SOLD_THERE)
    cost = _COST if staff else ""
    pieces = _IN_CHANNEL if in_channel else _PLAIN
    return _DETAIL % {**pieces, "cost": cost, "which": " and ".join(conditions)}


# Built once: the statements that read a product.
DETAIL = {
    (by, staff, in_channel): _detail(by, staff=staff, in_channel=in_channel)
    for by in _WHICH
    for staff in (False, True)
    for in_channel in (False, True)
}


class Shown(NamedTuple):
    """A product's version and JSON; in a channel, `until` is when a price may change by itself, in
    seconds since 1970."""

    version: str
    body: bytes
    until: float | None = None


class Offer(NamedTuple):
    """The channel whose prices are shown, and the moment."""

    channel: str
    at: datetime

    def params(self) -> dict[str, Any]:
        """The parameters of statements in a channel."""
        return {"channel": self.channel, "at": self.at}


async def product(
    conn: Connection,
    tenant: UUID,
    key: str,
    media: str,
    offer: Offer | None,
    *,
    by: str,
    staff: bool,
) -> Shown | None:
    """A product, `by` its "id" or "slug". Only staff see drafts. URLs of uploads begin with
    `media`."""
    params: dict[str, Any] = {"tenant": tenant, "key": key, "media": media}
    if offer is None:
        row = await conn.raw_row(DETAIL[by, staff, False], params)
        return None if row is None else Shown(row[0].decode(), row[1])
    row = await conn.raw_row(DETAIL[by, staff, True], {**params, **offer.params()})
    return None if row is None else Shown(row[0].decode(), row[2], _moment(row[1]))


def _moment(epoch: bytes) -> float | None:
    return float(epoch) if epoch else None


def _row(price: str, compare_at: str, currency: str, there: str = "") -> str:
    return f"""json_build_object(
    'id', t.id,
    'title', t.title,
    'slug', t.slug,
    'description', t.description,
    'price', {price}::text,
    'compare_at_price', {compare_at}::text,
    'currency', {currency},
    'category', {_CATEGORY},
    'tags', to_json(t.tags),
    'is_active', t.status = 'active',
    'is_featured', t.is_featured,
    'inventory_quantity', {_STOCK.format(there=there)},
    'images', (
        select coalesce(json_agg(json_build_object(
            'id', i.id, 'src', image_src(i.src, i.media_id, %(media)s), 'alt_text', i.alt_text)
            order by i.position, i.id), '[]')
          from product_image i where (i.tenant_id, i.product_id) = (t.tenant_id, t.id)),
    'created_at', rfc3339(t.created_at))"""


# Of the channel's locations, in a list.
_FROM_THERE = """ and ((select places from ch) is null
             or level.location_id = any((select places from ch)::uuid[]))"""
_ROW = _row("t.price", "t.compare_at_price", "t.currency")
_ROW_IN_CHANNEL = _row(
    "t.channel_price",
    "t.channel_compare_at",
    "(select currency from ch), 'price_includes_tax', (select prices_include_tax from ch)",
    _FROM_THERE,
)
# A product in a channel, as it is listed there.
_CHANNEL = """
    ch as materialized (
        select c.*, channel_locations(c.tenant_id, c.id) as places from channel c
         where c.tenant_id = %(tenant)s and c.slug = %(channel)s and c.is_active),"""
_LISTED = "(n.tenant_id, n.product_id, n.status) = (t.tenant_id, t.id, t.status)"
_THERE = "n.tenant_id = %(tenant)s and n.channel_id = (select id from ch)"
# Listings to come stand apart from those that count. What has begun or ended since they were made
# is looked at by its times, until the job has sorted it in.
_AS_MADE = f"not n.is_to_come and {_THERE}"
_AT_ANY_TIME = f"n.starts_at <= %(at)s and n.ends_at > %(at)s and {_THERE}"
_HAS_CHANGED = """, coalesce(least(
        (select min(l.starts_at) from channel_listing l
          where l.tenant_id = %(tenant)s and l.is_to_come),
        (select min(l.ends_at) from channel_listing l
          where l.tenant_id = %(tenant)s and l.ends_at < 'infinity')) <= %(at)s, false)"""

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
_IN_CHANNEL_KEYS = {"price": (Key("n.price", "numeric"), _ID)}
KEYS = {
    "title": (Key("t.title", "text"), _ID),
    "price": (Key("t.price", "numeric"), _ID),
    "created_at": (Key("t.created_at", "timestamptz"), _ID),
    "updated_at": (Key("t.updated_at", "timestamptz"), _ID),
    "relevance": (Key(_RANK, "float8", is_column=False), _ID),
}
_FOR_SALE = """exists (
    select from variant v
      left join inventory_level level
        on (level.tenant_id, level.variant_id) = (v.tenant_id, v.id){there}
     where (v.tenant_id, v.product_id) = (t.tenant_id, t.id)
       and (not v.tracks_inventory or v.inventory_policy = 'continue'
            or level.on_hand > level.reserved))"""
_ITS_OWN = "t.tenant_id = %(tenant)s"
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
# What a listing knows itself.
_CONDITIONS_THERE = {
    "status": "n.status = %(status)s",
    "min_price": "n.price >= %(min_price)s",
    "max_price": "n.price <= %(max_price)s",
}


async def products(
    conn: Connection,
    tenant: UUID,
    wanted: ProductFilter,
    window: Window,
    media: str,
    offer: Offer | None,
) -> tuple[bytes, float | None]:
    """A page of products as JSON, and in a channel until when it is true; URLs of uploads begin
    with `media`."""
    if offer is None:
        sql, params = _list(tenant, wanted, window)
        return await conn.json(sql, params | {"media": media}), None
    body = until = b""
    for listed in (_AS_MADE, _AT_ANY_TIME):
        sql, params = _list(tenant, wanted, window, listed)
        row = await conn.raw_row(sql, params | offer.params() | {"media": media})
        if row is not None:
            body, until, has_changed = row
            if has_changed == b"f":
                break
    return body, _moment(until)


def _list(
    tenant: UUID, wanted: ProductFilter, window: Window, listed: str | None = None
) -> tuple[str, dict[str, Any]]:
    """The statement of a list and its parameters; in a channel, of products that are `listed`."""
    where, there = [_ITS_OWN], [listed or ""]
    params: dict[str, Any] = {"tenant": tenant, **window.params()}
    for name, condition in _CONDITIONS.items():
        value = getattr(wanted, name)
        if value is not None and value != ():
            params[name] = list(value) if isinstance(value, tuple) else value
            if listed and name in _CONDITIONS_THERE:
                there.append(_CONDITIONS_THERE[name])
            else:
                where.append(condition)
    if wanted.inventory_status is not None:
        for_sale = _FOR_SALE.format(there=_FROM_THERE if listed else "")
        where.append(for_sale if wanted.inventory_status == "in_stock" else f"not {for_sale}")
    if wanted.is_featured:
        where.append("t.is_featured")  # as in the partial index's condition
    ranked: list[str] = []
    if wanted.q is not None:
        params["q"] = wanted.q
        others = " and ".join(where)
        ranked = [f"{others} and {_CODED}", f"{others} and {_WORDED} and not {_CODED}"]
        where.append(f"({_CODED} or {_WORDED})")
    keys, given = KEYS[wanted.sort], _SOUGHT if wanted.q is not None else ""
    joined = more = also = counting = ""
    if listed:
        now = " and ".join(there)
        if where == [_ITS_OWN]:  # then their number is known without the products
            counting = f"channel_listing n where {now} order by n.price, n.product_id"
        keys = _IN_CHANNEL_KEYS.get(wanted.sort, keys)
        given = _CHANNEL + given
        joined = f"join channel_listing n on {_LISTED} and {now}"
        also = _UNTIL + _HAS_CHANGED
        more = ", n.price as channel_price, n.compare_at_price as channel_compare_at"
    sql = list_sql(
        name="products",
        table="product",
        where=" and ".join(where),
        row=_ROW_IN_CHANNEL if listed else _ROW,
        keys=keys,
        descending=wanted.descending,
        window=window,
        given=given,
        ranked=ranked,
        joined=joined,
        more=more,
        also=also,
        counting=counting,
    )
    return sql, params


async def priced(conn: Connection, tenant: UUID, variants: list[UUID]) -> list[Priced]:
    """These variants' present data; missing ones are left out."""
    return await conn.records(
        Priced,
        """
        select v.product_id, v.id as variant_id, p.title, v.title as variant_title, v.sku,
               v.price, v.currency, p.requires_shipping, p.status = 'active' as is_active,
               p.category_id, p.product_type = 'gift_card' as is_gift_card, array(
                   select n.collection_id from collection_product n
                    where (n.tenant_id, n.product_id) = (p.tenant_id, p.id)) as collection_ids
          from variant v
          join product p on (p.tenant_id, p.id) = (v.tenant_id, v.product_id)
         where v.tenant_id = %(tenant)s and v.id = any(%(variants)s::uuid[])
        """,
        {"tenant": tenant, "variants": variants},
    )


async def priced_in(
    conn: Connection,
    tenant: UUID,
    wanted: Sequence[tuple[UUID, int]],
    *,
    channel: UUID,
    currency: str,
    customer: UUID | None,
    at: datetime,
) -> list[Priced]:
    """Variants as a customer gets so many of them in a channel; those not sold there are left
    out."""
    return await conn.records(
        Priced,
        """
        select v.product_id, v.id as variant_id, p.title, v.title as variant_title, v.sku,
               offered.amount as price, %(currency)s as currency, p.requires_shipping,
               p.status = 'active' as is_active, p.category_id,
               p.product_type = 'gift_card' as is_gift_card, array(
                   select n.collection_id from collection_product n
                    where (n.tenant_id, n.product_id) = (p.tenant_id, p.id)) as collection_ids
          from unnest(%(variants)s::uuid[], %(quantities)s::bigint[]) as w (variant_id, quantity)
          join variant v on (v.tenant_id, v.id) = (%(tenant)s, w.variant_id)
          join product p on (p.tenant_id, p.id) = (v.tenant_id, v.product_id)
         cross join lateral channel_price(
            v.tenant_id, %(channel)s, %(currency)s,
            array(select m.group_id from customer_group_member m
                   where (m.tenant_id, m.customer_id) = (%(tenant)s, %(customer)s)),
            v.id, w.quantity, %(at)s) offered
         where is_listed(v.tenant_id, %(channel)s, v.product_id, %(at)s)
        """,
        {
            "tenant": tenant,
            "variants": [variant for variant, _ in wanted],
            "quantities": [quantity for _, quantity in wanted],
            "channel": channel,
            "currency": currency,
            "customer": customer,
            "at": at,
        },
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
