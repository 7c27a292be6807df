"""The rules of customers: who they are, how they prove it, where they live."""

from typing import Literal
from uuid import UUID

import structlog
from msgspec import UNSET, to_builtins

from rcommerce import ids, money
from rcommerce.commerce import paging
from rcommerce.commerce.customers import passwords, queries, tokens
from rcommerce.commerce.customers.schema import (
    Credentials,
    CustomerChange,
    Login,
    Person,
    Registration,
    SavedAddress,
    Session,
)
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection, Jsonb
from rcommerce.errors import Conflict, Invalid, NotFound, Unauthenticated

READ = "customers:read"
RESET_MINUTES = 60
log = structlog.get_logger()


async def register(shop: Shop, new: Registration) -> Session:
    """Makes a customer and logs them in. Raises Conflict where the email is taken."""
    customer = await _insert(shop, new, "customer")
    async with shop.write() as tx:
        return await _session(tx, shop, customer, ids.new_id(), "Welcome.")


async def create_staff(shop: Shop, new: Registration) -> UUID:
    """Makes one of the staff. Raises Conflict where the email is taken."""
    return (await _insert(shop, new, "staff")).id


async def _insert(shop: Shop, new: Registration, role: Literal["customer", "staff"]) -> Credentials:
    currency = money.currency(new.currency or shop.tenant.currency)
    password_hash = await passwords.hashed(new.password)
    email = new.email.lower()
    customer = Credentials(ids.new_id(), email, new.first_name, new.last_name, password_hash, role)
    values = {
        "tenant": shop.tenant.id,
        "id": customer.id,
        "email": email,
        "password_hash": password_hash,
        "first_name": new.first_name,
        "last_name": new.last_name,
        "phone": new.phone,
        "accepts_marketing": new.accepts_marketing,
        "currency": currency,
        "role": role,
    }
    async with shop.write() as tx:
        if not await queries.insert(tx, values):
            raise Conflict("there is an account with this email already", code="email_taken")
    return customer


async def login(shop: Shop, data: Login) -> Session:
    """Raises Unauthenticated, with the same words whether email or password is wrong."""
    async with shop.read() as conn:
        customer = await queries.credentials(conn, shop.tenant.id, data.email.lower())
    stored = customer.password_hash if customer else passwords.NOBODYS
    if not await passwords.matches(stored, data.password) or customer is None:
        raise Unauthenticated("the email or the password is wrong", code="invalid_credentials")
    async with shop.write() as tx:
        return await _session(tx, shop, customer, ids.new_id(), "Welcome back.")


async def refresh(shop: Shop, refresh_token: str) -> Session:
    """A new pair of tokens. Raises Unauthenticated.

    A token that comes a second time was stolen, or its answer was lost: its family ends (RFC 9700
    section 4.14.2), and the customer logs in again.
    """
    token_hash = ids.token_hash(refresh_token)
    async with shop.write() as tx:
        state = await queries.use_refresh(tx, shop.tenant.id, token_hash)
        if state is not None and state.was_used:
            await queries.revoke_family(tx, shop.tenant.id, state.family_id)
        elif state is not None and not state.is_over:
            customer = await queries.credentials_of(tx, shop.tenant.id, state.customer_id)
            if customer is not None:
                return await _session(tx, shop, customer, state.family_id, "Refreshed.")
    raise Unauthenticated("the refresh token is not valid", code="invalid_refresh_token")


async def logout(shop: Shop, refresh_token: str | None) -> None:
    """Ends the family of a refresh token."""
    if refresh_token is None:
        return
    async with shop.write() as tx:
        state = await queries.use_refresh(tx, shop.tenant.id, ids.token_hash(refresh_token))
        if state is not None:
            await queries.revoke_family(tx, shop.tenant.id, state.family_id)


async def _session(
    tx: Connection, shop: Shop, customer: Credentials, family: UUID, message: str
) -> Session:
    jwt = shop.services.settings.security.jwt
    secret = shop.services.jwt_secret
    refresh_token = ids.secret_token()
    await queries.insert_refresh(
        tx,
        shop.tenant.id,
        ids.token_hash(refresh_token),
        family,
        customer.id,
        jwt.refresh_expiry_days,
    )
    return Session(
        customer=Person(customer.id, customer.email, customer.first_name, customer.last_name),
        access_token=tokens.issue(
            secret, shop.tenant.id, customer.id, customer.role, jwt.expiry_hours
        ),
        refresh_token=refresh_token,
        token_type="Bearer",  # noqa: S106 - the kind of token (RFC 6750)
        expires_in=jwt.expiry_hours * 3600,
        message=message,
    )


async def request_reset(shop: Shop, email: str) -> None:
    """Mails a link where there is such a customer; says nothing of whether there is."""
    async with shop.write() as tx:
        customer = await queries.credentials(tx, shop.tenant.id, email.lower())
        if customer is None:
            return
        token = ids.secret_token()
        await queries.insert_reset(
            tx, shop.tenant.id, ids.token_hash(token), customer.id, RESET_MINUTES
        )
    link = shop.services.settings.notifications.email.password_reset_url
    link = link.replace("{token}", token)
    text = f"Choose a new password within {RESET_MINUTES} minutes:\n\n{link}\n"
    try:
        await shop.services.mailer.send(
            customer.email, f"Your password at {shop.tenant.name}", text
        )
    except OSError as error:
        # The answer must not differ from that for an unknown email.
        log.warning("mail_failed", error=str(error))


async def confirm_reset(shop: Shop, token: str, password: str) -> None:
    """Sets a new password and ends every session. Raises Invalid for a token that does not hold."""
    password_hash = await passwords.hashed(password)
    async with shop.write() as tx:
        customer = await queries.use_reset(tx, shop.tenant.id, ids.token_hash(token))
        if customer is None:
            raise Invalid.field("token", "is unknown, used or too old: ask for a new one")
        await queries.set_password(tx, shop.tenant.id, customer, password_hash)
        await queries.revoke_all(tx, shop.tenant.id, customer)


async def me(shop: Shop) -> bytes:
    """The caller as JSON. Raises Unauthenticated."""
    return await one(shop, shop.caller.require_customer())


async def one(shop: Shop, customer: UUID) -> bytes:
    """A customer as JSON: itself, or any for staff. Raises NotFound."""
    if shop.caller.customer_id != customer:
        shop.caller.require(READ)
    async with shop.read() as conn:
        found = await queries.customer(conn, shop.tenant.id, customer)
    if found is None:
        raise NotFound("there is no such customer")
    return found


async def email_of(conn: Connection, shop: Shop, customer: UUID) -> str:
    """A customer's email. Raises Unauthenticated where the account is gone."""
    found = await queries.credentials_of(conn, shop.tenant.id, customer)
    if found is None:
        raise Unauthenticated("this account is gone")
    return found.email


async def everyone(
    shop: Shop, page: int | None, per_page: int, cursor: str | None, email: str | None
) -> bytes:
    """A page of customers for staff; a customer gets a list of itself."""
    if not shop.caller.may(READ) and shop.caller.customer_id is not None:
        person = await me(shop)
        meta = (
            b'{"total":1,"total_relation":"exact","page":1,"per_page":1,"total_pages":1,'
            b'"next_cursor":null}'
        )
        return b'{"customers":[%b],"customer":%b,"meta":%b}' % (person, person, meta)
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.KEYS)
    async with shop.read() as conn:
        return await queries.customers(conn, shop.tenant.id, window, email and email.lower())


async def change_me(shop: Shop, data: CustomerChange) -> bytes:
    """Changes the caller's own fields. Raises Unauthenticated, Invalid."""
    customer = shop.caller.require_customer()
    values = {name: getattr(data, name) for name in data.__struct_fields__}
    given = {name: value for name, value in values.items() if value is not UNSET}
    if "currency" in given:
        given["currency"] = money.currency(given["currency"])
    async with shop.write() as tx:
        await queries.update(tx, shop.tenant.id, customer, given)
        found = await queries.customer(tx, shop.tenant.id, customer)
    if found is None:
        raise NotFound("there is no such customer")
    return found


async def addresses(shop: Shop) -> bytes:
    """The caller's addresses as JSON."""
    customer = shop.caller.require_customer()
    async with shop.read() as conn:
        return await queries.addresses(conn, shop.tenant.id, customer)


async def put_address(shop: Shop, data: SavedAddress, address: UUID | None) -> bytes:
    """Keeps an address: a new one, or one that is there. Raises NotFound."""
    customer = shop.caller.require_customer()
    row = address or ids.new_id()
    async with shop.write() as tx:
        if address and await queries.address(tx, shop.tenant.id, customer, address) is None:
            raise NotFound("there is no such address")
        value = Jsonb(to_builtins(data.address))
        done = await queries.put_address(
            tx, shop.tenant.id, customer, row, value, is_default=data.is_default
        )
        found = await queries.address(tx, shop.tenant.id, customer, row)
    if not done or found is None:
        raise NotFound("there is no such address")
    return found


async def delete_address(shop: Shop, address: UUID) -> None:
    """Forgets an address. Raises NotFound."""
    customer = shop.caller.require_customer()
    async with shop.write() as tx:
        if not await queries.delete_address(tx, shop.tenant.id, customer, address):
            raise NotFound("there is no such address")
