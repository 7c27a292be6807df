"""The cache tags of catalogue responses; migration 0003 has what invalidates each."""

from collections.abc import Iterator
from uuid import UUID

import msgspec

from rcommerce.commerce.catalog.schema import ProductFilter


class _Row(msgspec.Struct):
    id: str


class _Product(msgspec.Struct):
    id: str
    category: _Row | None = None
    categories: list[_Row] = []
    collections: list[_Row] = []


class _Detail(msgspec.Struct):
    product: _Product


class _List(msgspec.Struct):
    products: list[_Product]


# Reads only the ids from the JSON that PostgreSQL built.
_DETAIL = msgspec.json.Decoder(_Detail)
_LIST = msgspec.json.Decoder(_List)


# "Not found" is invalidated by any change of what exists.
OF_NO_PRODUCT = ("products",)


def of_product(body: bytes) -> Iterator[str]:
    """The tags of a product."""
    product = _DETAIL.decode(body).product
    yield f"product:{product.id}"
    yield "shown"
    for row in product.categories:
        yield f"category:{row.id}"
    for row in product.collections:
        yield f"collection:{row.id}"


def of_list(wanted: ProductFilter, body: bytes) -> Iterator[str]:
    """The tags of a page of products: the products on it, and what decides which they are."""
    yield "products"
    if wanted.sort == "price" or wanted.min_price is not None or wanted.max_price is not None:
        yield "price"
    if wanted.inventory_status is not None:
        yield "stock"
    if wanted.q is not None or wanted.sort == "updated_at":
        yield "content"
    if isinstance(wanted.collection_id, UUID):
        yield f"collection:{wanted.collection_id}"
    if wanted.category is not None:
        yield "categories"
    for product in _LIST.decode(body).products:
        yield f"product:{product.id}"
        if product.category is not None:
            yield f"category:{product.category.id}"
