"""A payment gateway with a deadline and a circuit breaker."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from rcommerce import tracing
from rcommerce.commerce.strategies import (
    Charge,
    GatewayError,
    GatewayEvent,
    Outcome,
    PaymentGateway,
)
from rcommerce.errors import Invalid
from rcommerce.resilience.breaker import Breaker

T = TypeVar("T")
REST_S = 5.0  # seconds a failed gateway is not called, until one trial call


class GatewayResting(GatewayError):
    """The gateway was not called, since it has just failed. Nothing was charged."""


class GuardedGateway:
    """A PaymentGateway around another one. Each call also raises GatewayError after `timeout_s`."""

    def __init__(self, gateway: PaymentGateway, timeout_s: float) -> None:
        self._gateway = gateway
        self._timeout_s = timeout_s
        self.breaker = Breaker(f"gateway {gateway.id}")

    @property
    def id(self) -> str:
        """Its id in settings and requests."""
        return self._gateway.id

    @property
    def name(self) -> str:
        """Its name for buyers."""
        return self._gateway.name

    @property
    def methods(self) -> Sequence[str]:
        """The payment method types that it accepts."""
        return self._gateway.methods

    @property
    def is_resting(self) -> bool:
        """Whether a call would not be made now."""
        return self.breaker.is_resting(REST_S)

    async def charge(self, charge: Charge) -> Outcome:
        """Charges, or says why not."""
        return await self._ask(lambda: self._gateway.charge(charge))

    async def find(self, tenant_id: UUID, payment_id: UUID) -> Outcome | None:
        """The result of a charge; None if the gateway does not know it."""
        return await self._ask(lambda: self._gateway.find(tenant_id, payment_id))

    async def refund(
        self, tenant_id: UUID, payment_id: UUID, refund_id: UUID, amount: Decimal
    ) -> Outcome:
        """Refunds; `refund_id` is the idempotency key."""
        return await self._ask(
            lambda: self._gateway.refund(tenant_id, payment_id, refund_id, amount)
        )

    def event(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        """Verifies and reads an event. Raises Unauthenticated for a wrong signature."""
        return self._gateway.event(headers, body)

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        if not self.breaker.admits(REST_S):
            raise GatewayResting(f"{self.id} has failed: {self.breaker.cause}")
        try:
            with tracing.span(self.breaker.name, "CLIENT"):
                async with asyncio.timeout(self._timeout_s):
                    answer = await call()
        except TimeoutError as error:
            self.breaker.failed(f"no answer in {self._timeout_s:g} s")
            raise GatewayError(self.breaker.cause) from error
        except GatewayError as error:
            self.breaker.failed(str(error))
            raise
        self.breaker.succeeded()
        return answer


def chosen(gateways: Mapping[str, GuardedGateway], gateway_id: str) -> GuardedGateway:
    """A gateway by its id. Raises Invalid."""
    if gateway_id not in gateways:
        known = ", ".join(gateways)
        raise Invalid.field("gateway_id", f"unknown gateway “{gateway_id}”; available: {known}")
    return gateways[gateway_id]
