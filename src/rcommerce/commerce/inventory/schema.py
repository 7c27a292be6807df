"""Requests and responses of inventory."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from rcommerce.commerce.fields import Count, Input, Line, ListMeta, Units


class Adjustment(Input):
    """A difference in stock, such as damaged or found units."""

    variant_id: UUID
    quantity: Annotated[int, Meta(ge=-1_000_000, le=1_000_000, description="may be negative")]
    location_id: UUID | None = None
    reason: Line = ""


class Recount(Input):
    """The result of counting the stock."""

    variant_id: UUID
    on_hand: Count
    location_id: UUID | None = None
    reason: Line = ""


class Receipt(Input):
    """Goods that arrived."""

    variant_id: UUID
    quantity: Units
    location_id: UUID | None = None
    reason: Line = ""


class NewReservation(Input):
    """Units to reserve by hand, for a time."""

    variant_id: UUID
    quantity: Units
    expires_in_s: Annotated[int, Meta(ge=1, le=2_592_000)] = 900
    reason: Line = ""


class Release(Input):
    """A reservation to release."""

    reservation_id: UUID


class Transfer(Input):
    """Units to move between two locations."""

    variant_id: UUID
    from_location_id: UUID
    to_location_id: UUID
    quantity: Units
    reason: Line = ""


class NewLocation(Input):
    """A place that holds stock."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]


class Wanted(msgspec.Struct, frozen=True):
    """A variant, and a number of its units."""

    variant_id: UUID
    quantity: int


class Short(msgspec.Struct, frozen=True):
    """A line that is short, and how much of it is left."""

    variant_id: UUID
    quantity: int
    available: int


class Level(msgspec.Struct):
    """Stock of a variant at a location: available is on_hand minus reserved."""

    variant_id: UUID
    location_id: UUID
    on_hand: int
    reserved: int
    available: int


class LevelAnswer(msgspec.Struct):
    """One level after a change."""

    level: Level


class LevelsAnswer(msgspec.Struct):
    """All levels of a variant."""

    levels: list[Level]


class Reserved(msgspec.Struct):
    """A reservation that was made."""

    reservation_id: UUID
    variant_id: UUID
    quantity: int


class MadeLocation(msgspec.Struct):
    """A location that was made."""

    id: UUID
    name: str


# Responses, for OpenAPI: PostgreSQL builds them.


class LevelsPage(msgspec.Struct):
    """A page of levels."""

    levels: list[Level]
    meta: ListMeta


class Movement(msgspec.Struct, kw_only=True):
    """A change of stock, and its reason."""

    id: UUID
    variant_id: UUID
    location_id: UUID
    kind: str
    on_hand_change: int
    reserved_change: int
    reason: str
    order_id: UUID | None
    actor: str
    created_at: str


class MovementsPage(msgspec.Struct):
    """A page of movements."""

    movements: list[Movement]
    meta: ListMeta


class LocationView(msgspec.Struct):
    """A location."""

    id: UUID
    name: str
    is_default: bool


class LocationsAnswer(msgspec.Struct):
    """Every location."""

    locations: list[LocationView]
