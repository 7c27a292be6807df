"""Requests and responses of channels."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import Currency, Input, ListMeta, Name

Listed = Literal["all", "chosen"]
ChannelSlug = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$(?!\n)",
        description="lower-case letters, digits, hyphens and underscores",
        examples=["germany"],
    ),
]
Locations = Annotated[list[UUID], Meta(max_length=100)]
Country = Annotated[str, Meta(pattern=r"^[A-Za-z]{2}$(?!\n)", examples=["DE"])]


class NewChannel(Input, kw_only=True):
    """A new channel, in the shop's currency. `listed`: it sells all products, or those chosen.
    `locations`: where its orders are served from; none: everywhere."""

    slug: ChannelSlug
    name: Name
    currency: Currency | None = None
    country: Country | None = None
    prices_include_tax: bool = False
    is_active: bool = True
    listed: Listed = "all"
    locations: Locations = []


class ChannelChange(Input, kw_only=True):
    """Fields of a channel to change; others stay."""

    slug: ChannelSlug | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    country: Country | None | UnsetType = UNSET
    prices_include_tax: bool | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    listed: Listed | UnsetType = UNSET
    locations: Locations | UnsetType = UNSET


class Availability(Input, kw_only=True):
    """When a product is sold in a channel; null: always."""

    available_from: datetime | None = None
    available_until: datetime | None = None


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that requests can name."""

    id: UUID
    slug: str
    currency: str
    country: str | None
    prices_include_tax: bool


# Responses, for OpenAPI: PostgreSQL builds them.


class ChannelView(msgspec.Struct, kw_only=True):
    """A channel: where products are sold, in one currency."""

    id: UUID
    slug: str
    name: str
    currency: str
    country: str | None
    prices_include_tax: bool
    is_active: bool
    listed: Listed
    locations: list[UUID]
    created_at: str
    updated_at: str


class ChannelAnswer(msgspec.Struct):
    """One channel."""

    channel: ChannelView


class ChannelsAnswer(msgspec.Struct):
    """A page of channels."""

    channels: list[ChannelView]
    meta: ListMeta


class ListingView(msgspec.Struct, kw_only=True):
    """When a product is sold in a channel."""

    channel_id: UUID
    product_id: UUID
    available_from: str | None
    available_until: str | None


class ListingAnswer(msgspec.Struct):
    """A product in a channel."""

    listing: ListingView
