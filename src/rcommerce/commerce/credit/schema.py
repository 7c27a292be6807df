"""Requests and responses of gift cards and store credit."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import Currency, Email, Input, Line, ListMeta, Money

Difference = Annotated[
    Decimal, Meta(description="an amount; negative takes it away", examples=["10.00", "-5.00"])
]


class NewGiftCard(Input, kw_only=True):
    """A gift card to issue, in the shop's currency unless another is named."""

    amount: Money
    currency: Currency | None = None
    expires_at: datetime | None = None
    recipient_email: Email | None = None
    note: Line = ""


class GiftCardChange(Input, kw_only=True):
    """Fields of a gift card to change; others stay."""

    is_active: bool | UnsetType = UNSET
    expires_at: datetime | None | UnsetType = UNSET
    note: Line | UnsetType = UNSET


class CreditChange(Input, kw_only=True):
    """Credit to give to a customer, or to take away."""

    amount: Difference
    currency: Currency | None = None
    note: Line = ""


class Account(msgspec.Struct, frozen=True):
    """An account that can pay: active, not expired, with its balance."""

    id: UUID
    kind: str
    last_characters: str | None
    currency: str
    balance: Decimal


# Responses, for OpenAPI: PostgreSQL builds them.


class GiftCardView(msgspec.Struct, kw_only=True):
    """A gift card. `code` is returned once, when it is issued."""

    id: UUID
    last_characters: str
    currency: str
    balance: str
    issued: str
    is_active: bool
    expires_at: str | None
    recipient_email: str | None
    note: str
    created_at: str


class IssuedView(GiftCardView, kw_only=True):
    """A gift card that was just issued, with its code."""

    code: str


class GiftCardAnswer(msgspec.Struct):
    """One gift card."""

    gift_card: GiftCardView


class IssuedAnswer(msgspec.Struct):
    """The gift card that was issued."""

    gift_card: IssuedView


class GiftCardsAnswer(msgspec.Struct):
    """A page of gift cards."""

    gift_cards: list[GiftCardView]
    meta: ListMeta


class EntryView(msgspec.Struct, kw_only=True):
    """A change of a balance. Redeemed amounts are negative."""

    number: int
    kind: Literal["issued", "redeemed", "refunded", "restored", "adjusted"]
    amount: str
    balance: str
    order_id: UUID | None
    note: str
    created_at: str


class EntriesAnswer(msgspec.Struct):
    """The ledger of an account, oldest first."""

    entries: list[EntryView]


class BalanceAnswer(msgspec.Struct, kw_only=True):
    """What is left on a gift card."""

    balance: str
    currency: str
    expires_at: str | None


class CreditView(msgspec.Struct, kw_only=True):
    """A customer's credit in a currency."""

    id: UUID
    currency: str
    balance: str


class CreditAnswer(msgspec.Struct):
    """A customer's credit, by currency."""

    credit: list[CreditView]


class LiabilityView(msgspec.Struct, kw_only=True):
    """What the shop owes in a currency: balances that can still be spent."""

    kind: Literal["gift_card", "store_credit"]
    currency: str
    accounts: int
    balance: str


class LiabilityAnswer(msgspec.Struct):
    """What the shop owes."""

    liability: list[LiabilityView]
