"""Requests and responses of /webhooks: subscriptions to events, and deliveries."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import Input, Line, ListMeta

# Written by the triggers of migrations 0010 and 0019. A word with .* stands for all of its kind, *
# for all.
EVENTS = (
    "order.placed", "order.changed", "order.paid", "order.confirmed", "order.payment_failed",
    "order.expired", "order.partially_fulfilled", "order.fulfilled", "order.shipped",
    "order.delivered", "order.returned", "order.refunded", "order.cancelled",
    "product.created", "product.updated", "product.deleted",
    "customer.created",
    "coupon.created", "coupon.updated", "coupon.deleted", "coupon.applied", "coupon.removed",
    "webhook.test",
)  # fmt: skip
KINDS = ("order.*", "product.*", "customer.*", "coupon.*", "*")
Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/?#@]+(?:[/?][^\s#]*)?$(?!\n)",
        min_length=8,
        max_length=2048,
        examples=["https://example.com/rcommerce"],
        description="with https in production; without a user and a password",
    ),
]
Events = Annotated[
    list[Annotated[str, Meta(max_length=64, examples=["order.paid"])]],
    Meta(min_length=1, max_length=50),
]


class NewSubscription(Input, kw_only=True):
    """A subscription: a URL, and its events."""

    url: Url
    events: Events
    description: Line = ""


class SubscriptionChange(Input, kw_only=True):
    """Fields to change; others stay."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Line | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class SubscriptionView(msgspec.Struct, kw_only=True):
    """A subscription. Its `secret` is returned only when it is created or rotated."""

    id: UUID
    url: str
    events: list[str]
    description: str
    is_active: bool
    ended_because: str | None
    created_at: str
    updated_at: str
    secret: str | UnsetType = UNSET


class SubscriptionAnswer(msgspec.Struct):
    """One subscription."""

    subscription: SubscriptionView


class SubscriptionsAnswer(msgspec.Struct):
    """All subscriptions of the shop."""

    subscriptions: list[SubscriptionView]


class DeliveryView(msgspec.Struct, kw_only=True):
    """A message to a subscription: its attempts and their last result."""

    id: UUID
    subscription_id: UUID
    event_type: str
    subject: str
    payload: dict[str, Any]
    state: Literal["pending", "delivered", "dead"]
    attempts: int
    response_status: int | None
    error: str | None
    attempted_at: str | None
    created_at: str


class DeliveryAnswer(msgspec.Struct):
    """One delivery."""

    delivery: DeliveryView


class DeliveriesAnswer(msgspec.Struct):
    """A page of deliveries."""

    deliveries: list[DeliveryView]
    meta: ListMeta


class ReplayAnswer(msgspec.Struct):
    """How many dead messages were enqueued again."""

    replayed: int


State = Literal["pending", "delivered", "dead"]


class Message(msgspec.Struct, frozen=True):
    """A delivery to send; `body` is its JSON."""

    id: UUID
    subscription_id: UUID
    url: str
    secret: str
    is_active: bool
    state: str
    attempts: int
    body: str
