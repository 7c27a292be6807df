"""The rules of customers and their addresses."""

from collections.abc import Awaitable, Callable
from typing import Literal
from uuid import UUID

from msgspec import UNSET, to_builtins

from rcommerce import ids, money
from rcommerce.commerce import paging
from rcommerce.commerce.customers import passwords, queries
from rcommerce.commerce.customers.schema import (
    Credentials,
    CustomerChange,
    Registration,
    SavedAddress,
)
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection, Jsonb
from rcommerce.errors import Conflict, NotFound, Unauthenticated

READ = "customers:read"
KEPT, DENY_LIST = "customer", "token:blacklist"  # namespaces in Redis


async def create_staff(shop: Shop, new: Registration) -> UUID:
    """Creates a staff account. Raises Conflict if the email is taken."""
    return (await insert(shop, new, "staff")).id


async def insert(shop: Shop, new: Registration, role: Literal["customer", "staff"]) -> Credentials:
    """A new account. Raises Conflict if the email is taken."""
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
            raise Conflict("an account with this email already exists", code="email_taken")
    return customer


async def forget(shop: Shop, customer: UUID) -> None:
    """Removes the customer's cached data, so that no request is given what is outdated."""
    await shop.forget(DENY_LIST, str(customer))
    await shop.forget(KEPT, *(f"{customer}:{what}" for what in ("me", "addresses")))


async def me(shop: Shop) -> bytes:
    """The caller as JSON, cached for the caller alone. Raises Unauthenticated."""
    customer = shop.caller.require_customer()
    found = await _kept(shop, customer, "me", queries.customer)
    if found is None:
        raise NotFound("customer not found")
    return found


async def _kept(
    shop: Shop,
    customer: UUID,
    what: str,
    query: Callable[[Connection, UUID, UUID], Awaitable[bytes | None]],
) -> bytes | None:
    """Cached data of the caller."""
    return await shop.cached(
        KEPT,
        f"{customer}:{what}",
        f"customer:{customer}",
        shop.services.settings.cache.customer_cache_ttl,
        lambda conn: query(conn, shop.tenant.id, customer),
    )


async def one(shop: Shop, customer: UUID) -> bytes:
    """A customer as JSON: the caller, or any for staff. Raises NotFound."""
    if shop.caller.customer_id != customer:
        shop.caller.require(READ)
    async with shop.read() as conn:
        found = await queries.customer(conn, shop.tenant.id, customer)
    if found is None:
        raise NotFound("customer not found")
    return found


async def require(conn: Connection, shop: Shop, customer: UUID) -> None:
    """Raises NotFound if there is no such customer."""
    if await queries.customer(conn, shop.tenant.id, customer) is None:
        raise NotFound("customer not found")


async def email_of(conn: Connection, shop: Shop, customer: UUID) -> str:
    """A customer's email. Raises Unauthenticated if the account was deleted."""
    found = await queries.credentials_of(conn, shop.tenant.id, customer)
    if found is None:
        raise Unauthenticated("this account no longer exists")
    return found.email


async def everyone(
    shop: Shop, page: int | None, per_page: int, cursor: str | None, email: str | None
) -> bytes:
    """A page of customers for staff; a customer gets a list of themself."""
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
    await forget(shop, customer)
    if found is None:
        raise NotFound("customer not found")
    return found


async def addresses(shop: Shop) -> bytes:
    """The caller's addresses as JSON."""
    customer = shop.caller.require_customer()
    return await _kept(shop, customer, "addresses", queries.addresses) or b'{"addresses":[]}'


async def put_address(shop: Shop, data: SavedAddress, address: UUID | None) -> bytes:
    """Stores a new or existing address. Raises NotFound."""
    customer = shop.caller.require_customer()
    row = address or ids.new_id()
    async with shop.write() as tx:
        if address and await queries.address(tx, shop.tenant.id, customer, address) is None:
            raise NotFound("address not found")
        value = Jsonb(to_builtins(data.address))
        done = await queries.put_address(
            tx, shop.tenant.id, customer, row, value, is_default=data.is_default
        )
        found = await queries.address(tx, shop.tenant.id, customer, row)
    await forget(shop, customer)
    if not done or found is None:
        raise NotFound("address not found")
    return found


async def delete_address(shop: Shop, address: UUID) -> None:
    """Deletes an address. Raises NotFound."""
    customer = shop.caller.require_customer()
    async with shop.write() as tx:
        if not await queries.delete_address(tx, shop.tenant.id, customer, address):
            raise NotFound("address not found")
    await forget(shop, customer)
