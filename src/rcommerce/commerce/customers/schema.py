"""What customers send and get."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import Address, Currency, Email, Input, ListMeta, Name, Password

Phone = Annotated[str, Meta(max_length=64, examples=["+49 30 901820"])]
Token = Annotated[str, Meta(min_length=1, max_length=512)]


class Registration(Input, kw_only=True):
    """A new customer."""

    email: Email
    password: Password
    first_name: Name
    last_name: Name
    phone: Phone | None = None
    accepts_marketing: bool = False
    currency: Currency | None = None


class Login(Input):
    """A customer's proof."""

    email: Email
    password: Annotated[str, Meta(min_length=1, max_length=256)]


class Refresh(Input):
    """A refresh token: it works once."""

    refresh_token: Token


class Logout(Input):
    """The refresh token to end with its family; without it, the access token just runs out."""

    refresh_token: Token | None = None


class ResetRequest(Input):
    """Whose password was forgotten."""

    email: Email


class ResetConfirmation(Input):
    """The token of the mail, and the new password."""

    token: Token
    password: Password


class CustomerChange(Input, kw_only=True):
    """Fields of a customer to change; those left out stay."""

    first_name: Name | UnsetType = UNSET
    last_name: Name | UnsetType = UNSET
    phone: Phone | None | UnsetType = UNSET
    accepts_marketing: bool | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET


class SavedAddress(Input, kw_only=True):
    """An address to keep."""

    address: Address
    is_default: bool = False


class Person(msgspec.Struct):
    """Who has logged in."""

    id: UUID
    email: str
    first_name: str
    last_name: str


class Session(msgspec.Struct):
    """What a login gives. `expires_in` is in seconds."""

    customer: Person
    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int
    message: str


class Standing(msgspec.Struct, frozen=True):
    """Which tokens of a customer hold: those of this version, but for some."""

    token_version: int
    revoked: list[UUID]


class Credentials(msgspec.Struct, frozen=True):
    """What a login is checked against."""

    id: UUID
    email: str
    first_name: str
    last_name: str
    password_hash: str
    role: str
    token_version: int = 0


class RefreshState(msgspec.Struct, frozen=True):
    """A refresh token's place in its family."""

    family_id: UUID
    customer_id: UUID
    was_used: bool
    is_over: bool


class Message(msgspec.Struct):
    """A sentence for people."""

    message: str


# What comes out, as OpenAPI describes it: PostgreSQL builds it.


class CustomerView(msgspec.Struct, kw_only=True):
    """A customer."""

    id: UUID
    email: str
    first_name: str
    last_name: str
    phone: str | None
    accepts_marketing: bool
    currency: str
    role: str
    created_at: str
    updated_at: str


class CustomerAnswer(msgspec.Struct):
    """One customer."""

    customer: CustomerView


class CustomersAnswer(msgspec.Struct, kw_only=True):
    """A page of customers; a customer also gets itself as `customer`."""

    customers: list[CustomerView]
    customer: CustomerView | UnsetType = UNSET
    meta: ListMeta


class AddressView(msgspec.Struct, kw_only=True):
    """A kept address."""

    id: UUID
    is_default: bool
    address: dict[str, Any]
    created_at: str


class AddressAnswer(msgspec.Struct):
    """One address."""

    address: AddressView


class AddressesAnswer(msgspec.Struct):
    """Every address of a customer."""

    addresses: list[AddressView]


class SessionView(msgspec.Struct, kw_only=True):
    """A login by cookie; `is_current` is the one that asks."""

    id: str
    created_at: str
    last_seen_at: str
    user_agent: str
    address: str
    is_current: bool


class SessionsAnswer(msgspec.Struct):
    """Where a customer is logged in, the latest first."""

    sessions: list[SessionView]
