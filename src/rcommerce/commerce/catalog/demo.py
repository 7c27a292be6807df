"""Generates plausible products, the same ones for the same number: for demos and benchmarks.

Written with COPY, so that 100,000 take about half a minute.
"""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from psycopg import AsyncConnection, AsyncCursor

from rcommerce import money

NAMESPACE = UUID("6f6e5a52-3c1b-4a57-9a55-1f7f2a1f0e11")
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
BATCH = 5_000

# (type, root category, nouns, option, values, lowest and highest price in whole units)
KINDS = (
    ("Shirt", "Clothing", ("Shirt", "Blouse", "Tee", "Polo"), "Size", "S M L XL", 15, 90),
    ("Jacket", "Clothing", ("Jacket", "Parka", "Blazer", "Coat"), "Size", "S M L XL", 60, 400),
    ("Shoe", "Clothing", ("Sneaker", "Boot", "Loafer", "Sandal"), "Size", "38 40 42 44", 40, 260),
    ("Lamp", "Home", ("Lamp", "Lantern", "Sconce", "Chandelier"), "Finish", "Brass Black", 25, 350),
    ("Pot", "Home", ("Plant Pot", "Vase", "Bowl", "Planter"), "Size", "Small Large", 8, 80),
    ("Chair", "Home", ("Chair", "Stool", "Bench", "Armchair"), "Wood", "Oak Walnut", 70, 900),
    ("Mug", "Kitchen", ("Mug", "Teapot", "Carafe", "Tumbler"), "Colour", "White Blue Green", 9, 60),
    ("Knife", "Kitchen", ("Knife", "Cleaver", "Board", "Pan"), "Size", "Small Large", 12, 240),
    (
        "Backpack",
        "Outdoor",
        ("Backpack", "Tent", "Hammock", "Flask"),
        "Colour",
        "Red Grey",
        20,
        420,
    ),
    ("Bike", "Outdoor", ("Bicycle", "Helmet", "Saddle", "Pannier"), "Size", "M L", 30, 2400),
)
ADJECTIVES = (
    "Ocean Blue", "Classic", "Charcoal", "Handmade", "Linen", "Nordic", "Copper", "Everyday",
    "Vintage", "Soft", "Alpine", "Recycled", "Golden", "Midnight", "Striped", "Weekend", "Garden",
    "Featherlight", "Studio", "Harbour", "Terracotta", "Merino", "Canvas", "Polished",
)  # fmt: skip
PLACES = (
    "Aarhus", "Porto", "Kyoto", "Bergen", "Lyon", "Tallinn", "Galway", "Ghent", "Oaxaca", "Turin",
    "Leipzig", "Bilbao", "Quito", "Hobart", "Malmo", "Cusco", "Zadar", "Arles", "Delft", "Sligo",
)  # fmt: skip
VENDORS = (
    "Northwind Supply", "Company 123", "Bright & Sons", "Atelier Ola", "Field Notes Goods",
    "Harbour Works", "Studio Tern", "Lumen House", "Stonecrop", "Paper Kite",
)  # fmt: skip
TAGS = ("new", "sale", "gift", "organic", "limited", "bestseller", "handmade", "eco")
COLLECTIONS = ("New arrivals", "Gifts under 50", "Summer", "For the kitchen")


def demo_id(tenant: UUID, *parts: object) -> UUID:
    """A row's id: the same for the same words."""
    return uuid5(NAMESPACE, ":".join(str(part) for part in (tenant, *parts)))


async def load(
    conn: AsyncConnection[Any],
    tenant: UUID,
    currency: str,
    count: int,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Makes products 1 to `count` except those that exist; returns how many were made.

    `conn` is in a transaction. `progress` is called with the number done.
    """
    async with conn.cursor() as cursor:
        await cursor.execute("set local statement_timeout = 0")
        places = await _taxonomy(cursor, tenant)
        found = await cursor.execute(
            "select id from product where tenant_id = %(tenant)s", {"tenant": tenant}
        )
        known = {row[0] for row in await found.fetchall()}
        row = await (
            await cursor.execute(
                "select id from location where tenant_id = %(tenant)s and is_default",
                {"tenant": tenant},
            )
        ).fetchone()
        assert row is not None  # noqa: S101 - a tenant is made with one
        made = 0
        for first in range(1, count + 1, BATCH):
            numbers = [
                number
                for number in range(first, min(first + BATCH, count + 1))
                if demo_id(tenant, "product", number) not in known
            ]
            await _copy(cursor, tenant, currency, row[0], places, numbers)
            made += len(numbers)
            progress(min(first + BATCH - 1, count))
        await cursor.execute(
            "analyze product, variant, product_image, inventory_level, collection_product"
        )
    return made


async def _taxonomy(cursor: AsyncCursor[Any], tenant: UUID) -> dict[str, UUID]:
    """The ids of the demo's categories and collections by slug. A shop may have some of them
    already, with other ids."""
    nodes: list[tuple[str, str | None]] = [
        (root, None) for root in sorted({kind[1] for kind in KINDS})
    ]
    nodes += [(_plural(kind[0]), kind[1]) for kind in KINDS]
    await cursor.executemany(
        """
        insert into category (tenant_id, id, parent_id, name, slug)
        select %(tenant)s, %(id)s, (
                   select id from category where (tenant_id, slug) = (%(tenant)s, %(parent)s)),
               %(name)s, %(slug)s
        on conflict do nothing
        """,
        [
            {
                "tenant": tenant,
                "id": demo_id(tenant, "category", name),
                "parent": parent and _slug(parent),
                "name": name,
                "slug": _slug(name),
            }
            for name, parent in nodes
        ],
    )
    await cursor.executemany(
        """
        insert into collection (tenant_id, id, title, slug, position) values (%s, %s, %s, %s, %s)
        on conflict do nothing
        """,
        [
            (
                tenant,
                demo_id(tenant, "collection", title),
                title,
                _slug(title),
                position,
            )
            for position, title in enumerate(COLLECTIONS)
        ],
    )
    found = await cursor.execute(
        """
        select slug::text, id from category where tenant_id = %(tenant)s
        union all
        select 'collection ' || slug, id from collection where tenant_id = %(tenant)s
        """,
        {"tenant": tenant},
    )
    return dict(await found.fetchall())


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def _plural(noun: str) -> str:
    return f"{noun.removesuffix('fe')}ves" if noun.endswith("fe") else f"{noun}s"


async def _copy(
    cursor: AsyncCursor[Any],
    tenant: UUID,
    currency: str,
    location: UUID,
    places: dict[str, UUID],
    numbers: list[int],
) -> None:
    """Writes one batch: one COPY per table."""
    tables: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _COLUMNS}
    for number in numbers:
        for table, row in _rows(tenant, currency, location, places, number):
            tables[table].append(row)
    for table, rows in tables.items():
        columns = _COLUMNS[table]
        async with cursor.copy(f"copy {table} ({columns}) from stdin") as copy:
            for row in rows:
                await copy.write_row(row)


_COLUMNS = {
    "product": (
        "tenant_id, id, title, slug, description, short_description, product_type, vendor, tags,"
        " status, is_featured, currency, price, compare_at_price, weight, weight_unit, options,"
        " category_id, created_at, updated_at, published_at"
    ),
    "variant": (
        "tenant_id, id, product_id, title, sku, currency, price, compare_at_price, cost_price,"
        " option_values, position"
    ),
    "product_image": "tenant_id, id, product_id, src, alt_text, width, height, position",
    "inventory_level": "tenant_id, variant_id, location_id, on_hand",
    "inventory_movement": (
        "tenant_id, id, variant_id, location_id, kind, on_hand_change, reason, actor"
    ),
    "collection_product": "tenant_id, collection_id, product_id, position",
}


def _rows(
    tenant: UUID, currency: str, location: UUID, places: dict[str, UUID], number: int
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The rows of one product, by table."""
    dice = random.Random(number)  # noqa: S311 - demo data, and it has to repeat
    kind, root, nouns, option, values, low, high = dice.choice(KINDS)
    title = f"{dice.choice(ADJECTIVES)} {dice.choice(nouns)} {dice.choice(PLACES)} No. {number}"
    slug = title.lower().replace(". ", "-").replace(" ", "-")
    product = demo_id(tenant, "product", number)
    price = _price(dice, low, high, currency)
    compare_at = price * 2 if dice.random() < 0.2 else None
    created = FIRST_DAY + timedelta(minutes=number * 7)
    choices = values.split()
    vendor = dice.choice(VENDORS)
    yield (
        "product",
        (
            tenant, product, title, slug,
            f"<p>{title}: a {kind.lower()} from {vendor}, made to be used every day."
            f" Part of our {root.lower()} range.</p>",
            f"A {kind.lower()} from {vendor}.", kind, vendor,
            sorted(dice.sample(TAGS, dice.randint(0, 3))),
            "active", dice.random() < 0.02, currency, price, compare_at,
            Decimal(dice.randint(1, 120)) / 10, "kg",
            json.dumps([{"name": option, "values": choices}]),
            places[_slug(_plural(kind))], created, created, created,
        ),
    )  # fmt: skip
    for position, value in enumerate(choices, start=1):
        variant = demo_id(tenant, "variant", number, value)
        yield (
            "variant",
            (
                tenant, variant, product, value, f"DEMO-{number}-{value.upper()}", currency, price,
                compare_at, _half(price, currency), json.dumps({option: value}), position,
            ),
        )  # fmt: skip
        stock = 0 if dice.random() < 0.05 else dice.randint(1, 500)
        yield "inventory_level", (tenant, variant, location, stock)
        if stock:
            movement = demo_id(tenant, "movement", number, value)
            yield (
                "inventory_movement",
                (tenant, movement, variant, location, "set", stock, "demo", "demo"),
            )
    for position in range(1, dice.randint(1, 3) + 1):
        image = demo_id(tenant, "image", number, position)
        src = f"https://images.example.com/{slug}-{position}.jpg"
        yield (
            "product_image",
            (tenant, image, product, src, f"{title}, view {position}", 1200, 1200, position),
        )
    if number % 50 == 0:
        collection = places[f"collection {_slug(COLLECTIONS[number // 50 % len(COLLECTIONS)])}"]
        yield "collection_product", (tenant, collection, product, number)


def _price(dice: random.Random, low: int, high: int, currency: str) -> Decimal:
    digits = money.digits(currency)
    whole = dice.randint(low, high - 1)
    cents = Decimal(dice.choice((0, 50, 90, 95, 99))) / 100 if digits else Decimal(0)
    return money.rounded(whole + cents, currency)


def _half(price: Decimal, currency: str) -> Decimal:
    return money.rounded(price / 2, currency)
