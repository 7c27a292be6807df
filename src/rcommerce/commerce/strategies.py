"""The parts that a shop can replace: each a Protocol of a few methods, chosen in the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from rcommerce.errors import RCommerceError


class GatewayError(RCommerceError):
    """The gateway did not answer, or not intelligibly: it may have charged."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge. `payment_id` is the idempotency key of the attempt."""

    tenant_id: UUID
    payment_id: UUID
    order_number: str
    amount: Decimal
    currency: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A gateway's result for a charge or refund.

    `accepted`: the order may go on now, the payment is confirmed by hand later. `waiting`: the
    gateway decides later, and reports it by an event or when asked.
    """

    state: Literal["approved", "declined", "waiting", "accepted"]
    reference: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """A signed event of a gateway, verified."""

    event_id: str
    payment_id: UUID
    outcome: Outcome


class PaymentGateway(Protocol):
    """A payment gateway. A call may raise GatewayError; the same key never acts twice."""

    @property
    def id(self) -> str:
        """Its id in settings and requests."""

    @property
    def name(self) -> str:
        """Its name for buyers."""

    @property
    def methods(self) -> Sequence[str]:
        """The payment method types that it accepts."""

    async def charge(self, charge: Charge) -> Outcome:
        """Charges, or says why not."""

    async def find(self, tenant_id: UUID, payment_id: UUID) -> Outcome | None:
        """The result of a charge; None if the gateway does not know it."""

    async def refund(
        self, tenant_id: UUID, payment_id: UUID, refund_id: UUID, amount: Decimal
    ) -> Outcome:
        """Refunds; `refund_id` is the idempotency key."""

    def event(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        """Verifies and reads an event. Raises Unauthenticated for a wrong signature."""


class Rate(msgspec.Struct, kw_only=True):
    """A shipping rate: its price before and after surcharges."""

    provider_id: str
    carrier: str
    service_code: str
    service_name: str
    rate: Decimal
    currency: str
    delivery_days: int | None
    total_cost: Decimal


class ShippingProvider(Protocol):
    """Quotes what shipping costs."""

    def rates(self, *, currency: str, country: str) -> list[Rate]:
        """The services that reach `country`, cheapest first; none if it is not served."""


class RatesUnavailable(RCommerceError):
    """The source of exchange rates did not answer, or not intelligibly."""


class ExchangeRates(Protocol):
    """Where exchange rates come from."""

    @property
    def name(self) -> str:
        """Its name in settings."""

    async def rates(self, base: str) -> Mapping[str, Decimal]:
        """What one unit of `base` is worth in other currencies; none if the source does not know
        it. Raises RatesUnavailable."""


class Mailer(Protocol):
    """Sends a message to a customer."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """Sends the message. Raises OSError if the server cannot be reached."""
