"""The built-in gateways: `manual`, and `test`, which keeps records like a real one."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from uuid import UUID

import msgspec

from rcommerce import clock
from rcommerce.commerce.strategies import Charge, GatewayError, GatewayEvent, Outcome
from rcommerce.database import Cluster
from rcommerce.errors import Invalid, NotFound, Unauthenticated

SIGNATURE_AGE_S = 300
DELAY_S = 2


@dataclass(frozen=True, slots=True)
class Manual:
    """Payment outside the shop, such as a bank transfer: the order goes on, and staff confirm the
    payment."""

    id: str = "manual"
    name: str = "Pay on invoice"
    methods: tuple[str, ...] = ("invoice", "bank_transfer", "cash_on_delivery")

    async def charge(self, charge: Charge) -> Outcome:
        """Accepts every order."""
        return Outcome("accepted")

    async def find(self, tenant_id: UUID, payment_id: UUID) -> Outcome | None:
        """The result of every charge."""
        return Outcome("accepted")

    async def refund(
        self, tenant_id: UUID, payment_id: UUID, refund_id: UUID, amount: Decimal
    ) -> Outcome:
        """Staff pay the refund themselves; this records it."""
        return Outcome("approved")

    def event(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        """Raises NotFound: it has no events."""
        raise NotFound("this gateway sends no events")


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    payment_id: UUID
    outcome: str


@dataclass(frozen=True, slots=True)
class Test:
    """A gateway for development whose token decides the result.

    `tok_approve` approves, `tok_decline` declines, `tok_delay` approves after two seconds,
    `tok_fail` does not answer. Its records are in tables of its own in the control database,
    written on a connection of its own, as with a remote party: what it has charged stays charged,
    whatever happens to the shop's transaction.
    """

    cluster: Cluster
    webhook_secret: str
    id: str = "test"
    name: str = "Test gateway"
    methods: tuple[str, ...] = ("card",)

    async def charge(self, charge: Charge) -> Outcome:
        """Charges once per payment. Raises GatewayError for tok_fail and unknown tokens."""
        outcomes = {
            "tok_approve": "approved",
            "tok_decline": "declined",
            "tok_delay": "delayed",
        }
        if charge.token not in outcomes:
            if charge.token == "tok_fail":  # noqa: S105 - not a secret
                raise GatewayError("the test gateway was told to fail")
            return Outcome("declined", message="unknown token; try tok_approve")
        cursor, _ = await self.cluster.control.once(
            None,
            """
            insert into test_gateway_charge as kept
                (tenant_id, idempotency_key, amount, currency, outcome, settles_at)
            values (%(tenant)s, %(key)s, %(amount)s, %(currency)s, %(outcome)s,
                    case when %(outcome)s = 'delayed'
                         then now() + make_interval(secs => %(delay_s)s) end)
            -- Not “do nothing”: what another one has just made would not be seen.
            on conflict (tenant_id, idempotency_key) do update set outcome = kept.outcome
            returning outcome, settles_at <= now()
            """,
            {
                "tenant": charge.tenant_id,
                "key": str(charge.payment_id),
                "amount": charge.amount,
                "currency": charge.currency,
                "outcome": outcomes[charge.token],
                "delay_s": DELAY_S,
            },
        )
        row = await cursor.fetchone()
        if row is None:
            raise GatewayError("the test gateway's books have no such charge")
        return _outcome(charge.payment_id, row[0], settled=bool(row[1]))

    async def find(self, tenant_id: UUID, payment_id: UUID) -> Outcome | None:
        """The result of a charge."""
        async with self.cluster.control.read() as conn:
            row = await conn.one_or_none(
                """
                select outcome, settles_at <= now() from test_gateway_charge
                 where (tenant_id, idempotency_key) = (%(tenant)s, %(key)s)
                """,
                {"tenant": tenant_id, "key": str(payment_id)},
            )
        return _outcome(payment_id, row[0], settled=bool(row[1])) if row else None

    async def refund(
        self, tenant_id: UUID, payment_id: UUID, refund_id: UUID, amount: Decimal
    ) -> Outcome:
        """Refunds once per refund id; declines more than was charged."""
        async with self.cluster.control.write() as tx:
            # Refunds of a charge run one after another, so that each sees the others.
            await tx.execute(
                """
                select 1 from test_gateway_charge
                 where (tenant_id, idempotency_key) = (%(tenant)s, %(charge)s) for update
                """,
                {"tenant": tenant_id, "charge": str(payment_id)},
            )
            done = await tx.value(
                """
                with made as (
                    insert into test_gateway_refund (tenant_id, idempotency_key, charge_key, amount)
                    select %(tenant)s, %(key)s, idempotency_key, %(amount)s
                      from test_gateway_charge
                     where (tenant_id, idempotency_key) = (%(tenant)s, %(charge)s)
                       and refunded + %(amount)s <= amount
                    on conflict (tenant_id, idempotency_key) do nothing
                    returning charge_key
                ), booked as (
                    update test_gateway_charge c set refunded = c.refunded + %(amount)s
                      from made
                     where (c.tenant_id, c.idempotency_key) = (%(tenant)s, made.charge_key)
                )
                select true from made
                union all
                select true from test_gateway_refund
                 where (tenant_id, idempotency_key) = (%(tenant)s, %(key)s)
                limit 1
                """,
                {
                    "tenant": tenant_id,
                    "key": str(refund_id),
                    "charge": str(payment_id),
                    "amount": amount,
                },
            )
        if not done:
            return Outcome("declined", message="more than was charged")
        return Outcome("approved", reference=f"test_re_{refund_id}")

    def event(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        """Reads an event signed as `sign` does. Raises Unauthenticated, Invalid."""
        moment = headers.get("x-test-timestamp", "")
        given = headers.get("x-test-signature", "")
        if not hmac.compare_digest(
            sign(self.webhook_secret, moment, body).encode(), given.encode()
        ):
            raise Unauthenticated("the signature is wrong", code="invalid_signature")
        if not moment.isdecimal() or abs(clock.now() - int(moment[:12])) > SIGNATURE_AGE_S:
            raise Unauthenticated("the event is too old", code="invalid_signature")
        try:
            event = msgspec.json.decode(body, type=_Event)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Invalid(f"the event cannot be read: {error}") from error
        if event.outcome not in ("approved", "declined"):
            raise Invalid.field("outcome", "must be approved or declined")
        outcome = _outcome(event.payment_id, event.outcome, settled=True)
        return GatewayEvent(event.id, event.payment_id, outcome)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 over `timestamp.body`, as hexadecimal."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, sha256).hexdigest()


def _outcome(payment: UUID, outcome: str, *, settled: bool) -> Outcome:
    reference = f"test_ch_{payment}"
    if outcome == "declined":
        return Outcome("declined", reference, "the card was declined")
    if outcome == "delayed" and not settled:
        return Outcome("waiting", reference)
    return Outcome("approved", reference)
