"""Types of fields that several capabilities share."""

from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Line = Annotated[str, Meta(max_length=255)]
Paragraph = Annotated[str, Meta(max_length=5_000)]
Html = Annotated[str, Meta(max_length=100_000)]
Slug = Annotated[
    str,
    Meta(
        pattern=r"^[^\s/?#%]{1,255}$(?!\n)",
        max_length=255,
        description="without spaces, /, ?, # or %",
        examples=["ocean-blue-shirt"],
    ),
]
Email = Annotated[
    str,
    Meta(
        pattern=r"^[ \t]*[^@\s,;<>\x00-\x1f]{1,64}@[^@\s,;<>\x00-\x1f]+"
        r"\.[^@\s,;<>\x00-\x1f]+[ \t]*$(?!\n)",
        max_length=254,
        examples=["ada@example.com"],
    ),
]
Password = Annotated[str, Meta(min_length=8, max_length=256, examples=["correct horse battery"])]
Currency = Annotated[str, Meta(min_length=3, max_length=3, examples=["USD"])]
Money = Annotated[Decimal, Meta(description="a decimal string", examples=["19.99"])]
Tag = Annotated[str, Meta(min_length=1, max_length=255)]
Quantity = Annotated[int, Meta(ge=1, le=9999)]
Units = Annotated[int, Meta(ge=1, le=1_000_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Position = Annotated[int, Meta(ge=0, le=1_000_000)]


# Sent by clients and computed by the server: accepted in any form, never read.
Ignored = Any


class Input(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request's body or a part of one: an unknown field is an error. Spaces around e-mail
    addresses, which phone keyboards add, are removed."""

    def __post_init__(self) -> None:
        for name in _emails(type(self)):
            given = getattr(self, name)
            if isinstance(given, str):
                setattr(self, name, given.strip())


@cache
def _emails(kind: type[Input]) -> tuple[str, ...]:
    """The names of the fields that are e-mail addresses."""
    return tuple(
        field.name for field in msgspec.structs.fields(kind) if Email in _members(field.type)
    )


def _members(kind: Any) -> tuple[Any, ...]:
    """A type and, for a union, its members."""
    return (kind, *get_args(kind)) if get_origin(kind) in (Union, UnionType) else (kind,)


class Address(Input, kw_only=True):
    """A postal address."""

    first_name: Name
    last_name: Name
    address1: Name
    city: Name
    zip: Annotated[str, Meta(max_length=32, examples=["10115"])] = ""
    country: Annotated[str, Meta(pattern=r"^[A-Za-z]{2}$(?!\n)", examples=["DE"])]
    company: Line | None = None
    address2: Line | None = None
    state: Line | None = None
    phone: Annotated[str, Meta(max_length=64)] | None = None


class ItemChange(Input):
    """A new quantity for a line."""

    quantity: Quantity


class OrderLine(Input, kw_only=True):
    """A product, or one of its variants, and how many."""

    product_id: UUID
    variant_id: UUID | None = None
    quantity: Quantity
    # Clients send these along; the server computes what is charged.
    price: Ignored = None
    total: Ignored = None


class ListMeta(msgspec.Struct, kw_only=True):
    """A page's place in its list. The count stops at a thousand rows beyond the page:
    `total_relation` is then at_least."""

    total: int | None
    total_relation: Literal["exact", "at_least"]
    page: int | None
    per_page: int
    total_pages: int | None
    next_cursor: str | None
