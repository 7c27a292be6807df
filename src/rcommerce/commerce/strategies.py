"""What a shop changes: each a Protocol of few methods, chosen in the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from rcommerce.errors import RCommerceError


class GatewayError(RCommerceError):
    """The gateway did not answer, or not understandably: whether it charged is not known."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a gateway is asked to take. `payment_id` is the idempotency key of the attempt."""

    tenant_id: UUID
    payment_id: UUID
    order_number: str
    amount: Decimal
    currency: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a gateway says of a charge or refund.

    `accepted`: the order may go on now, the money comes by hand later.
    `waiting`: the gateway decides later, and says so by an event or when asked.
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
    """A way to be paid. A call may raise GatewayError; the same key never acts twice."""

    @property
    def id(self) -> str:
        """What it is called in settings and requests."""

    @property
    def name(self) -> str:
        """What buyers read."""

    @property
    def methods(self) -> Sequence[str]:
        """The types of payment method that it takes."""

    async def charge(self, charge: Charge) -> Outcome:
        """Takes the money, or says why not."""

    async def find(self, tenant_id: UUID, payment_id: UUID) -> Outcome | None:
        """What became of a charge; None where the gateway never heard of it."""

    async def refund(
        self, tenant_id: UUID, payment_id: UUID, refund_id: UUID, amount: Decimal
    ) -> Outcome:
        """Gives back; `refund_id` is the idempotency key."""

    def event(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        """Verifies and reads an event. Raises Unauthenticated for a wrong signature."""


class Rate(msgspec.Struct, kw_only=True):
    """One way to ship, and what it costs before and with everything added."""

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
        """The services that reach `country`, cheapest first; none where it is not served."""


class Mailer(Protocol):
    """Sends a message to a customer."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """Hands the message over. Raises OSError where the server cannot be reached."""
