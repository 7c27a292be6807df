"""Requests and responses of customers."""

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
    """Credentials of a customer."""

    email: Email
    password: Annotated[str, Meta(min_length=1, max_length=256)]


class Refresh(Input):
    """A refresh token: it works once."""

    refresh_token: Token


class Logout(Input):
    """The refresh token whose family is revoked; without it, the access token expires by itself."""

    refresh_token: Token | None = None


class ResetRequest(Input):
    """The account whose password was forgotten."""

    email: Email


class ResetConfirmation(Input):
    """The token of the mail, and the new password."""

    token: Token
    password: Password


class CustomerChange(Input, kw_only=True):
    """Fields of a customer to change; others stay."""

    first_name: Name | UnsetType = UNSET
    last_name: Name | UnsetType = UNSET
    phone: Phone | None | UnsetType = UNSET
    accepts_marketing: bool | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET


class SavedAddress(Input, kw_only=True):
    """An address to store."""

    address: Address
    is_default: bool = False


class Person(msgspec.Struct):
    """The customer who has logged in."""

    id: UUID
    email: str
    first_name: str
    last_name: str


class Session(msgspec.Struct):
    """The result of a login. `expires_in` is in seconds."""

    customer: Person
    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int
    message: str


class Standing(msgspec.Struct, frozen=True):
    """The valid tokens of a customer: those of this version, except some."""

    token_version: int
    revoked: list[UUID]


class Credentials(msgspec.Struct, frozen=True):
    """A customer's row for a login."""

    id: UUID
    email: str
    first_name: str
    last_name: str
    password_hash: str
    role: str
    token_version: int = 0


class RefreshState(msgspec.Struct, frozen=True):
    """A refresh token and its family."""

    family_id: UUID
    customer_id: UUID
    was_used: bool
    is_over: bool


class Message(msgspec.Struct):
    """A message for people."""

    message: str


# Responses, for OpenAPI: PostgreSQL builds them.


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
    """A page of customers; a customer gets their own data, also as `customer`."""

    customers: list[CustomerView]
    customer: CustomerView | UnsetType = UNSET
    meta: ListMeta


class AddressView(msgspec.Struct, kw_only=True):
    """A stored address."""

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
    """A login by cookie; `is_current` is that of this request."""

    id: str
    created_at: str
    last_seen_at: str
    user_agent: str
    address: str
    is_current: bool


class SessionsAnswer(msgspec.Struct):
    """A customer's cookie sessions, latest first."""

    sessions: list[SessionView]
