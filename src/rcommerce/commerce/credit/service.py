"""The rules of gift cards and store credit: balances that pay for orders."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import structlog
from msgspec import UNSET

from rcommerce import ids, money
from rcommerce.commerce import paging
from rcommerce.commerce.credit import queries
from rcommerce.commerce.credit.schema import Account, CreditChange, GiftCardChange, NewGiftCard
from rcommerce.commerce.customers import service as customers
from rcommerce.commerce.pricing.model import Payment
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection
from rcommerce.errors import Conflict, Invalid, NotFound, Unprocessable

READ = "coupons:read"
WRITE = "coupons:write"
CODE_LENGTH = 16  # characters of 5 random bits each
log = structlog.get_logger()


def compared(code: str) -> bytes:
    """The hash of a code: in any case, with or without spaces and hyphens."""
    return ids.token_hash("".join(part for part in code.upper() if part.isalnum()))


# Gift cards -------------------------------------------------------------------------------------


async def issue(shop: Shop, new: NewGiftCard) -> bytes:
    """A new gift card as JSON, with its code: shown this once. Raises Invalid."""
    shop.caller.require(WRITE)
    currency = money.currency(new.currency or shop.tenant.currency)
    amount = money.amount(new.amount, currency, "amount")
    if not amount:
        raise Invalid.field("amount", "must be more than 0")
    expires_at = shop.with_zones({"": new.expires_at})[""]
    if expires_at is not None and expires_at <= shop.local_time():
        raise Invalid.field("expires_at", "must be in the future")
    code = _written(ids.readable(CODE_LENGTH))
    account = ids.new_id()
    async with shop.write() as tx:
        await queries.insert(
            tx,
            {
                "tenant_id": shop.tenant.id,
                "id": account,
                "kind": "gift_card",
                "currency": currency,
                "code_hash": compared(code),
                "last_characters": code[-4:],
                "recipient_email": new.recipient_email and new.recipient_email.lower(),
                "note": new.note,
                "expires_at": expires_at,
            },
        )
        await _add(tx, shop, account, "issued", amount, new.note)
        body = await _card(tx, shop, account)
    card: dict[str, Any] = msgspec.json.decode(body)
    return msgspec.json.encode({"gift_card": {**card, "code": code}})


def _written(characters: str) -> str:
    return "-".join(characters[at : at + 4] for at in range(0, CODE_LENGTH, 4))


async def _add(
    tx: Connection, shop: Shop, account: UUID, kind: str, amount: Decimal, note: str = ""
) -> None:
    actor = shop.caller.name
    if not await queries.add_entry(
        tx, shop.tenant.id, account, kind=kind, amount=amount, actor=actor, note=note
    ):
        raise Unprocessable("the balance is less than that", code="balance_too_low")


async def _card(conn: Connection, shop: Shop, account: UUID) -> bytes:
    found = await queries.card(conn, shop.tenant.id, account)
    if found is None:
        raise NotFound("gift card not found")
    return found


async def card(shop: Shop, account: UUID) -> bytes:
    """A gift card as JSON. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        return b'{"gift_card":' + await _card(conn, shop, account) + b"}"


async def cards(shop: Shop, page: int | None, per_page: int, cursor: str | None) -> bytes:
    """A page of gift cards as JSON, newest first. Raises Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.KEYS)
    async with shop.read() as conn:
        return await queries.cards(conn, shop.tenant.id, window)


async def change_card(shop: Shop, account: UUID, data: GiftCardChange) -> bytes:
    """Changes a gift card; its balance stays. Raises NotFound."""
    shop.caller.require(WRITE)
    values = {name: getattr(data, name) for name in data.__struct_fields__}
    given = {name: value for name, value in values.items() if value is not UNSET}
    async with shop.write() as tx:
        await queries.update(tx, shop.tenant.id, account, shop.with_zones(given))
        return b'{"gift_card":' + await _card(tx, shop, account) + b"}"


async def card_entries(shop: Shop, account: UUID) -> bytes:
    """The ledger of a gift card as JSON. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        await _card(conn, shop, account)
        return await queries.entries(conn, shop.tenant.id, account)


async def balance(shop: Shop, code: str) -> bytes:
    """What is left on a gift card, for whoever has its code. Raises NotFound, TooMany."""
    await _require_patience(shop)
    async with shop.read() as conn:
        found = await queries.balance(conn, shop.tenant.id, compared(code))
    if found is None:
        raise NotFound("no such gift card, or it has expired")
    return found


async def _require_patience(shop: Shop) -> None:
    """Raises TooMany for who tries code after code."""
    await shop.services.limits.spend("gift-card", f"{shop.tenant.id}:{shop.client.address}")


async def liability(shop: Shop) -> bytes:
    """What the shop owes, by kind and currency, as JSON."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        return await queries.liability(conn, shop.tenant.id)


# Store credit -----------------------------------------------------------------------------------


async def mine(shop: Shop) -> bytes:
    """The caller's credit as JSON. Raises Unauthenticated."""
    customer = shop.caller.require_customer()
    async with shop.read() as conn:
        return await queries.credit(conn, shop.tenant.id, customer)


async def of_customer(shop: Shop, customer: UUID) -> bytes:
    """A customer's credit as JSON. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        await customers.require(conn, shop, customer)
        return await queries.credit(conn, shop.tenant.id, customer)


async def give(shop: Shop, customer: UUID, data: CreditChange) -> bytes:
    """Gives credit to a customer, or takes it away; what they have, as JSON. Raises NotFound,
    Invalid, Unprocessable."""
    shop.caller.require(WRITE)
    currency = money.currency(data.currency or shop.tenant.currency)
    amount = money.amount(abs(data.amount), currency, "amount").copy_sign(data.amount)
    if not amount:
        raise Invalid.field("amount", "must not be 0")
    async with shop.write() as tx:
        await customers.require(tx, shop, customer)
        account = await queries.make_for_customer(
            tx, shop.tenant.id, ids.new_id(), customer, currency
        )
        await _add(tx, shop, account, "adjusted", amount, data.note)
        return await queries.credit(tx, shop.tenant.id, customer)


async def credit_entries(shop: Shop, customer: UUID | None, currency: str | None) -> bytes:
    """The ledger of a customer's credit as JSON, the caller's own without one. Raises NotFound,
    Unauthenticated."""
    if customer is None:
        customer = shop.caller.require_customer()
    else:
        shop.caller.require(READ)
    async with shop.read() as conn:
        account = await _credit_account(conn, shop, customer, currency)
        return await queries.entries(conn, shop.tenant.id, account)


async def _credit_account(
    conn: Connection, shop: Shop, customer: UUID, currency: str | None
) -> UUID:
    found = await queries.of_customer(
        conn, shop.tenant.id, customer, money.currency(currency or shop.tenant.currency)
    )
    if found is None:
        raise NotFound("there is no credit in this currency")
    return found


# What pays for orders ---------------------------------------------------------------------------


async def found(conn: Connection, shop: Shop, code: str, currency: str) -> Account:
    """The gift card of a code, that can pay in a currency. Raises Unprocessable, TooMany."""
    await _require_patience(shop)
    account = await queries.by_code(conn, shop.tenant.id, compared(code))
    accounts = [] if account is None else await queries.spendable(conn, shop.tenant.id, [account])
    if not accounts:
        raise Unprocessable("no such gift card, or it has expired", code="gift_card_not_found")
    return _fits(accounts[0], currency)


async def own(conn: Connection, shop: Shop, currency: str) -> Account:
    """The caller's credit in a currency. Raises Unauthenticated, Unprocessable."""
    customer = shop.caller.require_customer()
    account = await queries.of_customer(conn, shop.tenant.id, customer, currency)
    accounts = [] if account is None else await queries.spendable(conn, shop.tenant.id, [account])
    if not accounts:
        raise Unprocessable(f"there is no credit in {currency}", code="no_credit")
    return _fits(accounts[0], currency)


def _fits(account: Account, currency: str) -> Account:
    if account.currency != currency:
        raise Unprocessable(
            f"the gift card is in {account.currency}, and the cart is in {currency}",
            code="currency_mismatch",
        )
    if not account.balance:
        raise Unprocessable("nothing is left on it", code="gift_card_empty")
    return account


async def spendable(conn: Connection, shop: Shop, accounts: Sequence[UUID]) -> list[Account]:
    """Those of these accounts that can pay, with their balances, in this order."""
    return await queries.spendable(conn, shop.tenant.id, accounts) if accounts else []


async def hold(tx: Connection, shop: Shop, payments: Sequence[Payment], held: set[object]) -> bool:
    """Locks the accounts that pay until the end of the transaction, but for those `held` already;
    False: nothing more had to be locked. Otherwise their balances have to be read again."""
    accounts = [each.gift_card_id for each in payments if each.gift_card_id not in held]
    if accounts:
        await queries.hold(tx, shop.tenant.id, accounts)
    held.update(accounts)
    return bool(accounts)


async def redeem(tx: Connection, shop: Shop, order: UUID, payments: Sequence[Payment]) -> None:
    """Takes what an order is paid with; `hold` comes first."""
    for each in payments:
        if not await queries.add_entry(
            tx,
            shop.tenant.id,
            each.gift_card_id,
            kind="redeemed",
            amount=-each.amount,
            order=order,
            actor=shop.caller.name,
        ):
            raise Conflict("the balance has changed", code="conflict")


async def restore(tx: Connection, shop: Shop, order: UUID) -> None:
    """Gives back what is left of what an order was paid with: it was cancelled, or never paid. The
    order is locked, so nobody else does."""
    await _give_back(tx, shop, order, "restored", None)


async def refund(tx: Connection, shop: Shop, order: UUID, amount: Decimal) -> None:
    """Gives back an amount of what a locked order was paid with, to one account after the other."""
    await _give_back(tx, shop, order, "refunded", amount)


async def _give_back(
    tx: Connection, shop: Shop, order: UUID, kind: str, most: Decimal | None
) -> None:
    taken = await queries.taken_by(tx, shop.tenant.id, order)
    if not taken:
        return
    await queries.hold(tx, shop.tenant.id, [account for account, _ in taken])
    for account, left in taken:
        amount = left if most is None else min(left, most)
        if most is not None:
            most -= amount
        if amount:
            await queries.add_entry(
                tx,
                shop.tenant.id,
                account,
                kind=kind,
                amount=amount,
                order=order,
                actor=shop.caller.name,
            )


# Gift cards that are bought ----------------------------------------------------------------------

MAILED_AT_A_TIME = 50


async def sell(tx: Connection, shop: Shop, order: UUID) -> None:
    """Makes the gift cards of an order that was paid, one for each unit; the sweep mails them."""
    currency, email, items = await queries.bought(tx, shop.tenant.id, order)
    cards = []
    for item, units, price in items:
        for number in range(1, units + 1):
            code = _code(shop, item, number)
            sold = queries.Sold(item, number, ids.new_id(), price, compared(code), code[-4:])
            cards.append(sold)
    paid = [card for card in cards if card.amount]
    if paid:
        actor = shop.caller.name
        await queries.make_sold(tx, shop.tenant.id, order, currency, email, paid, actor=actor)


def _code(shop: Shop, item: UUID, number: int) -> str:
    """The code of a card: it is stored nowhere, and can be made again until it was mailed."""
    secret = shop.services.jwt_secret
    return _written(ids.derived(secret, "gift-card", shop.tenant.id, item, number))


async def withdraw(tx: Connection, shop: Shop, order: UUID, *, whole: bool) -> None:
    """Deactivates the gift cards that a locked order has bought, which is cancelled or refunded as
    a `whole`, or those of refunded units."""
    await queries.withdraw(tx, shop.tenant.id, order, whole=whole)


async def with_unmailed(conn: Connection) -> list[UUID]:
    """Tenants of this shard with gift cards to mail."""
    return await queries.with_unmailed(conn)


async def unmailed(conn: Connection) -> int:
    """How many gift cards of this shard's tenants wait for their mail."""
    return await queries.unmailed(conn)


async def mail(shop: Shop) -> None:
    """Mails gift cards that were bought. Each is mailed at least once: one whose mail was
    interrupted is mailed again."""
    async with shop.write() as tx:
        due = await queries.claim_unmailed(tx, shop.tenant.id, MAILED_AT_A_TIME)
    for item, number, account, email in due:
        code = _code(shop, item, number)
        async with shop.write() as tx:
            known, amount, currency = await queries.value_of(tx, shop.tenant.id, account)
            if known != compared(code):  # the secret is another one since
                values = {"code_hash": compared(code), "last_characters": code[-4:]}
                await queries.update(tx, shop.tenant.id, account, values)
        text = (
            f"Your gift card of {shop.tenant.name}, worth {amount} {currency}:\n\n    {code}\n\n"
            "Enter the code at the checkout. It can pay for several orders.\n"
        )
        try:
            await shop.services.mailer.send(email, f"Your gift card of {shop.tenant.name}", text)
        except OSError as error:  # the next round tries again
            log.warning("mail_failed", to=email, error=str(error))
            continue
        async with shop.write() as tx:
            await queries.set_mailed(tx, shop.tenant.id, item, number)
