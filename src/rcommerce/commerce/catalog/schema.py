"""What the catalogue takes in."""

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
    Money,
    Name,
    Paragraph,
    Position,
    Slug,
    Tag,
)

Status = Literal["draft", "active", "archived"]
Policy = Literal["deny", "continue"]
WeightUnit = Literal["g", "kg", "oz", "lb"]
Weight = Annotated[Decimal, Meta(description="a decimal", examples=["0.35"])]
Tags = Annotated[list[Tag], Meta(max_length=250)]
OptionValues = Annotated[
    dict[Annotated[str, Meta(max_length=255)], Name],
    Meta(max_length=3, examples=[{"Size": "Medium"}]),
]
Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s\x00-\x1f]+$",
        max_length=2048,
        examples=["https://example.com/shirt.jpg"],
    ),
]
# Free-form, for the shop's own use; its size is bounded by the request's.
MetaFields = dict[Annotated[str, Meta(max_length=255)], Any]


class NewVariant(Input, kw_only=True):
    """A variant to be made."""

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
    position: Position | None = None


class VariantChange(Input, kw_only=True):
    """Fields of a variant to change; those left out stay. Stock is changed under /inventory."""

    title: Annotated[str, Meta(min_length=1, max_length=800)] | UnsetType = UNSET
    sku: Name | None | UnsetType = UNSET
    barcode: Name | None | UnsetType = UNSET
    price: Money | UnsetType = UNSET
    compare_at_price: Money | None | UnsetType = UNSET
    cost_price: Money | None | UnsetType = UNSET
    option_values: OptionValues | UnsetType = UNSET
    tracks_inventory: bool | UnsetType = UNSET
    inventory_policy: Policy | UnsetType = UNSET
    position: Position | UnsetType = UNSET


class NewImage(Input, kw_only=True):
    """An image by its address."""

    src: Url
    alt_text: Line = ""
    width: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    height: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    position: Position | None = None


class ImageChange(Input, kw_only=True):
    """Fields of an image to change; those left out stay."""

    src: Url | UnsetType = UNSET
    alt_text: Line | UnsetType = UNSET
    width: Annotated[int, Meta(ge=1, le=100_000)] | None | UnsetType = UNSET
    height: Annotated[int, Meta(ge=1, le=100_000)] | None | UnsetType = UNSET
    position: Position | UnsetType = UNSET


class Option(Input, kw_only=True):
    """What variants differ in, such as Size with its values."""

    name: Name
    values: Annotated[list[Name], Meta(max_length=250)] = []


Options = Annotated[list[Option], Meta(max_length=3)]


class NewProduct(Input, kw_only=True):
    """A product to be made, with its variants and images.

    Without `variants` it gets one of its own price, sku and inventory_quantity.
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
    """Fields of a product to change; those left out stay."""

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
    """Which products of a list, and in which order."""

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
    """A variant as a cart or an order takes it: what it is called and costs now."""

    product_id: UUID
    variant_id: UUID
    title: str
    variant_title: str
    sku: str | None
    price: Decimal
    currency: str
    requires_shipping: bool
    is_active: bool


class VariantState(msgspec.Struct, frozen=True):
    """A variant and its product as the reservation sees them."""

    id: UUID
    product_id: UUID
