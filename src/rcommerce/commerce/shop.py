"""The shop as one request sees it: whose it is, who asks, and what serves them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from rcommerce.commerce.strategies import Mailer, PaymentGateway, ShippingProvider
from rcommerce.database import Connection, Database
from rcommerce.errors import Forbidden, Unauthenticated
from rcommerce.settings import Settings

RESOURCES = (
    "products", "inventory", "orders", "customers", "carts", "coupons", "payments", "webhooks",
    "media", "statistics", "tenants",
)  # fmt: skip
SCOPES = frozenset(f"{resource}:{verb}" for resource in RESOURCES for verb in ("read", "write"))


class Tenant(msgspec.Struct, frozen=True):
    """One shop of the installation."""

    id: UUID
    slug: str
    name: str
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Nobody, a customer, one of the staff, an API key with its scopes, or a process of
    the shop itself."""

    customer_id: UUID | None = None
    is_staff: bool = False
    key: str | None = None
    process: str | None = None
    scopes: frozenset[str] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        """For the books: who did it."""
        if self.process:
            return self.process
        if self.key:
            return f"key:{self.key}"
        if self.customer_id:
            return f"{'staff' if self.is_staff else 'customer'}:{self.customer_id}"
        return "guest"

    def may(self, scope: str) -> bool:
        """Whether the caller runs the shop in this respect, rather than buys in it."""
        return self.is_staff or scope in self.scopes

    def require(self, scope: str) -> None:
        """Raises Unauthenticated without a caller, Forbidden for one who lacks `scope`."""
        if self.may(scope):
            return
        if self.customer_id is None and self.key is None:
            raise Unauthenticated("this needs staff or an API key")
        raise Forbidden(f"this needs the scope {scope}", code="missing_scope")

    def require_customer(self) -> UUID:
        """The customer's id. Raises Unauthenticated where no customer is logged in."""
        if self.customer_id is None:
            raise Unauthenticated("this needs a customer who is logged in")
        return self.customer_id


NOBODY = Caller()


@dataclass(frozen=True, slots=True)
class Services:
    """What `app.py` builds once for a process."""

    database: Database
    settings: Settings
    jwt_secret: str
    gateways: Mapping[str, PaymentGateway]
    shipping: ShippingProvider
    mailer: Mailer


class Shop:
    """Handed to every service call. `connection` is set where the whole request is one transaction
    (an idempotent POST); reads and writes then share it."""

    __slots__ = ("caller", "connection", "idempotency_key", "services", "tenant")

    def __init__(self, services: Services, tenant: Tenant, caller: Caller) -> None:
        self.services = services
        self.tenant = tenant
        self.caller = caller
        self.connection: Connection | None = None
        self.idempotency_key: str | None = None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection for statements that each stand alone."""
        if self.connection is not None:
            yield self.connection
            return
        async with self.services.database.read() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        """A connection in a transaction."""
        if self.connection is not None:
            yield self.connection
            return
        async with self.services.database.write() as connection:
            yield connection
