"""Requests of the catalogue."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import (
    Count,
    Currency,
    Html,
    Input,
    Line,
    ListMeta,
    Money,
    Name,
    Paragraph,
    Position,
    Slug,
    Tag,
)
from rcommerce.commerce.media.schema import RenditionView

Status = Literal["draft", "active", "archived"]
Policy = Literal["deny", "continue"]
WeightUnit = Literal["g", "kg", "oz", "lb"]
Weight = Annotated[Decimal, Meta(description="a decimal", examples=["0.35"])]
HsCode = Annotated[
    str,
    Meta(
        pattern=r"^[0-9][0-9. ]{3,30}[0-9]$(?!\n)",
        description="the tariff code of the Harmonized System, for customs",
        examples=["6109.10"],
    ),
]
Tags = Annotated[list[Tag], Meta(max_length=250)]
OptionValues = Annotated[
    dict[Annotated[str, Meta(max_length=255)], Name],
    Meta(max_length=3, examples=[{"Size": "Medium"}]),
]
Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s\x00-\x1f]+$(?!\n)",
        max_length=2048,
        examples=["https://example.com/shirt.jpg"],
    ),
]
# Free-form, for the shop's own use; bounded by the request's size.
MetaFields = dict[Annotated[str, Meta(max_length=255)], Any]


class NewVariant(Input, kw_only=True):
    """A new variant. `weight` is in the product's unit; without it, the product's weight counts."""

    title: Annotated[str, Meta(min_length=1, max_length=800)] | None = None
    sku: Name | None = None
    barcode: Name | None = None
    price: Money
    compare_at_price: Money | None = None
    cost_price: Money | None = None
    option_values: OptionValues = {}
    tracks_inventory: bool = True
    inventory_policy: Policy = "deny"
    inventory_quantity: Count = 0
    weight: Weight | None = None
    hs_code: HsCode | None = None
    image_id: UUID | None = None
    position: Position | None = None


class VariantChange(Input, kw_only=True):
    """Fields of a variant to change; others stay. Stock is changed under /inventory."""

    title: Annotated[str, Meta(min_length=1, max_length=800)] | UnsetType = UNSET
    sku: Name | None | UnsetType = UNSET
    barcode: Name | None | UnsetType = UNSET
    price: Money | UnsetType = UNSET
    compare_at_price: Money | None | UnsetType = UNSET
    cost_price: Money | None | UnsetType = UNSET
    option_values: OptionValues | UnsetType = UNSET
    tracks_inventory: bool | UnsetType = UNSET
    inventory_policy: Policy | UnsetType = UNSET
    weight: Weight | None | UnsetType = UNSET
    hs_code: HsCode | None | UnsetType = UNSET
    image_id: UUID | None | UnsetType = UNSET
    position: Position | UnsetType = UNSET


class NewImage(Input, kw_only=True):
    """An image by its URL, `src`, or of an upload, `media_id`: one of the two."""

    src: Url | None = None
    media_id: UUID | None = None
    alt_text: Line = ""
    width: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    height: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    position: Position | None = None


class ImageChange(Input, kw_only=True):
    """Fields of an image to change; others stay."""

    src: Url | UnsetType = UNSET
    alt_text: Line | UnsetType = UNSET
    width: Annotated[int, Meta(ge=1, le=100_000)] | None | UnsetType = UNSET
    height: Annotated[int, Meta(ge=1, le=100_000)] | None | UnsetType = UNSET
    position: Position | UnsetType = UNSET


class Option(Input, kw_only=True):
    """A way in which variants differ, such as Size, with its values."""

    name: Name
    values: Annotated[list[Name], Meta(max_length=250)] = []


Options = Annotated[list[Option], Meta(max_length=3)]


class NewProduct(Input, kw_only=True):
    """A new product with its variants and images.

    Without `variants` it gets one with its own price, sku and inventory_quantity.
    """

    title: Name
    slug: Slug | None = None
    description: Html = ""
    short_description: Paragraph = ""
    product_type: Line = ""
    vendor: Line = ""
    tags: Tags = []
    status: Status = "draft"
    is_featured: bool = False
    currency: Currency | None = None
    price: Money | None = None
    compare_at_price: Money | None = None
    cost_price: Money | None = None
    sku: Name | None = None
    barcode: Name | None = None
    inventory_quantity: Count = 0
    inventory_policy: Policy = "deny"
    requires_shipping: bool = True
    weight: Weight | None = None
    weight_unit: WeightUnit = "kg"
    seo_title: Line = ""
    seo_description: Paragraph = ""
    meta_fields: MetaFields = {}
    options: Options = []
    category_id: UUID | None = None
    variants: Annotated[list[NewVariant], Meta(max_length=100)] = []
    images: Annotated[list[NewImage], Meta(max_length=250)] = []


class ProductChange(Input, kw_only=True):
    """Fields of a product to change; others stay."""

    title: Name | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    description: Html | UnsetType = UNSET
    short_description: Paragraph | UnsetType = UNSET
    product_type: Line | UnsetType = UNSET
    vendor: Line | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    is_featured: bool | UnsetType = UNSET
    requires_shipping: bool | UnsetType = UNSET
    weight: Weight | None | UnsetType = UNSET
    weight_unit: WeightUnit | UnsetType = UNSET
    seo_title: Line | UnsetType = UNSET
    seo_description: Paragraph | UnsetType = UNSET
    meta_fields: MetaFields | UnsetType = UNSET
    options: Options | UnsetType = UNSET
    category_id: UUID | None | UnsetType = UNSET
    price: Money | UnsetType = UNSET
    compare_at_price: Money | None | UnsetType = UNSET


class ProductFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Filter and order of a list of products."""

    status: Status | None = None
    product_type: str | None = None
    vendor: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    tags: tuple[str, ...] = ()
    ids: tuple[UUID, ...] = ()
    collection_id: UUID | None = None
    category: str | None = None
    q: str | None = None
    inventory_status: Literal["in_stock", "out_of_stock"] | None = None
    is_featured: bool | None = None
    sort: Literal["title", "price", "created_at", "updated_at", "relevance"] = "created_at"
    descending: bool = True


class Priced(msgspec.Struct, frozen=True):
    """A variant for a cart or an order: its present names and price."""

    product_id: UUID
    variant_id: UUID
    title: str
    variant_title: str
    sku: str | None
    price: Decimal
    currency: str
    requires_shipping: bool
    is_active: bool
    category_id: UUID | None = None
    is_gift_card: bool = False
    collection_ids: Sequence[UUID] = ()

    @property
    def groups(self) -> frozenset[UUID]:
        """What promotions can name: the product, its category and collections."""
        named = [self.product_id, *self.collection_ids]
        return frozenset(named if self.category_id is None else [*named, self.category_id])


# Responses, for OpenAPI: PostgreSQL builds them.


class Link(msgspec.Struct):
    """A category or collection of a product."""

    id: UUID
    slug: str
    name: str | UnsetType = UNSET
    title: str | UnsetType = UNSET


class ImageView(msgspec.Struct):
    """An image of a product."""

    id: UUID
    src: str
    alt_text: str
    width: int | None
    height: int | None
    position: int
    media_id: UUID | None
    renditions: dict[str, RenditionView]


class VariantView(msgspec.Struct, kw_only=True):
    """A variant. `weight` is in the product's `weight_unit`; null: the product's own weight.
    `cost_price` is only shown to staff."""

    id: UUID
    title: str
    sku: str | None
    barcode: str | None
    price: str
    compare_at_price: str | None
    option_values: dict[str, str]
    inventory_quantity: int | None
    inventory_policy: Policy
    position: int
    weight: str | None
    hs_code: str | None
    image_id: UUID | None
    cost_price: str | None | UnsetType = UNSET


class ProductView(msgspec.Struct, kw_only=True):
    """A product. `price_includes_tax` is there in a channel."""

    id: UUID
    title: str
    slug: str
    description: str
    short_description: str
    product_type: str
    vendor: str
    tags: list[str]
    status: Status
    is_active: bool
    is_featured: bool
    price: str
    compare_at_price: str | None
    currency: str
    price_includes_tax: bool | UnsetType = UNSET
    inventory_quantity: int | None
    inventory_policy: Policy
    requires_shipping: bool
    weight: str | None
    weight_unit: WeightUnit
    seo_title: str
    seo_description: str
    meta_fields: dict[str, Any]
    created_at: str
    updated_at: str
    published_at: str | None
    options: list[Option]
    variants: list[VariantView]
    images: list[ImageView]
    category: Link | None
    collections: list[Link]
    categories: list[Link]


class ProductAnswer(msgspec.Struct):
    """One product."""

    product: ProductView


class ListedImage(msgspec.Struct):
    """An image in a list."""

    id: UUID
    src: str
    alt_text: str


class ListedProduct(msgspec.Struct, kw_only=True):
    """A product in a list. `price_includes_tax` is there in a channel."""

    id: UUID
    title: str
    slug: str
    description: str
    price: str
    compare_at_price: str | None
    currency: str
    price_includes_tax: bool | UnsetType = UNSET
    category: Link | None
    tags: list[str]
    is_active: bool
    is_featured: bool
    inventory_quantity: int | None
    images: list[ListedImage]
    created_at: str


class ProductsAnswer(msgspec.Struct):
    """A page of products."""

    products: list[ListedProduct]
    meta: ListMeta
