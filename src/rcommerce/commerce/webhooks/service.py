"""The rules of webhooks, by Standard Webhooks (www.standardwebhooks.com).

A message is delivered at least once, and those about one object to one receiver in order: receivers
detect duplicates by `webhook-id`.
"""

import base64
import hmac
import secrets
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from msgspec import UNSET, UnsetType

from rcommerce import clock, ids
from rcommerce.commerce import paging
from rcommerce.commerce.shop import Shop
from rcommerce.commerce.webhooks import queries
from rcommerce.commerce.webhooks.schema import (
    EVENTS,
    KINDS,
    Message,
    NewSubscription,
    State,
    SubscriptionChange,
)
from rcommerce.errors import Conflict, Invalid, NotFound, RCommerceError
from rcommerce.resilience.outgoing import CallFailed

READ = "webhooks:read"
WRITE = "webhooks:write"
MOST = 50  # most subscriptions of a shop
MOST_ATTEMPTS = 24  # attempts; about half a day
KEPT_DAYS = 30  # days that completed messages are kept
_SECRET_PREFIX = "whsec_"  # noqa: S105
log = structlog.get_logger()


class Undelivered(RCommerceError):
    """The receiver did not accept it; it is sent again later."""


async def create(shop: Shop, new: NewSubscription) -> bytes:
    """Creates a subscription; its JSON, with the secret. Raises Invalid, Conflict."""
    shop.caller.require(WRITE)
    _check(shop, new.url, new.events)
    async with shop.write() as tx:
        if await queries.count(tx, shop.tenant.id) >= MOST:
            raise Conflict(f"a shop has at most {MOST} subscriptions", code="too_many")
        subscription = ids.new_id()
        values = {
            "tenant_id": shop.tenant.id,
            "id": subscription,
            "url": new.url,
            "events": list(dict.fromkeys(new.events)),
            "description": new.description,
            "secret": new_secret(),
        }
        await tx.insert("webhook_subscription", values)
        return await queries.one(tx, shop.tenant.id, subscription, secret=True) or b""


async def change(shop: Shop, subscription: UUID, data: SubscriptionChange) -> bytes:
    """Changes a subscription. Raises NotFound, Invalid."""
    shop.caller.require(WRITE)
    _check(shop, data.url, data.events)
    values: dict[str, Any] = {
        name: value
        for name in data.__struct_fields__
        if (value := getattr(data, name)) is not UNSET
    }
    if data.is_active is True:
        values["ended_because"] = None
    async with shop.write() as tx:
        if not await queries.update(tx, shop.tenant.id, subscription, values):
            raise _none_such()
        return await queries.one(tx, shop.tenant.id, subscription, secret=False) or b""


async def rotate(shop: Shop, subscription: UUID) -> bytes:
    """Creates a new secret; its JSON shows it. Raises NotFound."""
    shop.caller.require(WRITE)
    async with shop.write() as tx:
        if not await queries.update(tx, shop.tenant.id, subscription, {"secret": new_secret()}):
            raise _none_such()
        return await queries.one(tx, shop.tenant.id, subscription, secret=True) or b""


async def delete(shop: Shop, subscription: UUID) -> None:
    """Deletes a subscription with its undelivered messages. Raises NotFound."""
    shop.caller.require(WRITE)
    async with shop.write() as tx:
        if not await queries.delete(tx, shop.tenant.id, subscription):
            raise _none_such()


async def one(shop: Shop, subscription: UUID) -> bytes:
    """A subscription as JSON, without its secret. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        body = await queries.one(conn, shop.tenant.id, subscription, secret=False)
    if body is None:
        raise _none_such()
    return body


async def everyone(shop: Shop) -> bytes:
    """All subscriptions as JSON."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        return await queries.everyone(conn, shop.tenant.id)


async def deliveries(
    shop: Shop,
    subscription: UUID,
    state: State | None,
    page: int | None,
    per_page: int,
    cursor: str | None,
) -> bytes:
    """A page of a subscription's deliveries, as JSON. Raises Invalid, NotFound."""
    await one(shop, subscription)
    window = paging.window(page, per_page, cursor, queries.KEYS)
    async with shop.read() as conn:
        return await queries.deliveries(conn, shop.tenant.id, subscription, state, window)


async def replay(shop: Shop, subscription: UUID, which: UUID | None = None) -> int:
    """Sends a message again, or all dead ones; returns how many. Raises NotFound."""
    shop.caller.require(WRITE)
    await one(shop, subscription)
    async with shop.write() as tx:
        count = await queries.replay(tx, shop.tenant.id, subscription, which)
    if which is not None and count == 0:
        raise NotFound("delivery not found")
    return count


async def send_test(shop: Shop, subscription: UUID) -> bytes:
    """Sends a test message to a subscription; the delivery as JSON. Raises NotFound."""
    shop.caller.require(WRITE)
    async with shop.write() as tx:
        made = await queries.emit_test(tx, shop.tenant.id, subscription)
        if made is None:
            raise _none_such()
        return await queries.delivery(tx, shop.tenant.id, made) or b""


def _none_such() -> NotFound:
    return NotFound("subscription not found")


def _check(shop: Shop, url: str | UnsetType, events: list[str] | UnsetType) -> None:
    unknown = [each for each in events or () if each not in EVENTS and each not in KINDS]
    if unknown:
        raise Invalid.field("events", f"unknown event {unknown[0]}; available: {', '.join(EVENTS)}")
    if isinstance(url, str):
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 - evaluated lazily
        except ValueError as error:
            raise Invalid.field("url", f"is no address: {error}") from error
        if parts.scheme == "http" and not shop.services.settings.webhooks.allow_http:
            raise Invalid.field("url", "must begin with https:// (webhooks.allow_http is false)")


def new_secret() -> str:
    """192 random bits, in the format of Standard Webhooks."""
    return _SECRET_PREFIX + base64.b64encode(secrets.token_bytes(24)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: str) -> str:
    """The signature of a message: HMAC-SHA256 of its id, time and body."""
    key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()


async def deliver(shop: Shop, which: UUID) -> None:
    """Sends a message unless that was done. Raises Undelivered, HostRests: then it is sent again
    later."""
    async with shop.read() as conn:
        message = await queries.message(conn, shop.tenant.id, which)
    if message is None or message.state != "pending":
        return
    if not message.is_active:
        await _note(shop, message, "dead", None, "the subscription is not active")
        return
    now = int(clock.now())
    name = str(message.id)
    headers = {
        "content-type": "application/json",
        "user-agent": "R-Commerce-Webhooks/1",
        "webhook-id": name,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(message.secret, name, now, message.body),
    }
    status, error, is_refused = None, None, False
    try:
        answer = await shop.services.outgoing.post(message.url, headers, message.body.encode())
        status = answer.status
        if not 200 <= status < 300:
            error = f"status {status}: {answer.body[:200].decode(errors='replace')}"
    except CallFailed as failed:
        error, is_refused = str(failed), failed.is_refused
    if error is None:
        await _note(shop, message, "delivered", status, None)
        return
    if status == 410:
        await _end(shop, message)
    is_last = is_refused or status == 410 or message.attempts + 1 >= MOST_ATTEMPTS
    await _note(shop, message, "dead" if is_last else "pending", status, error)
    if is_last:
        log.warning("webhook_dead", tenant=str(shop.tenant.id), delivery=name, error=error)
        return
    raise Undelivered(error)


async def _note(
    shop: Shop, message: Message, state: State, status: int | None, error: str | None
) -> None:
    clean = None if error is None else error.replace("\x00", "")
    async with shop.write() as tx:
        await queries.note(tx, shop.tenant.id, message.id, state, status, clean)


async def _end(shop: Shop, message: Message) -> None:
    """410: the receiver cancels the subscription."""
    why = f"the receiver answered 410 at {clock.today():%Y-%m-%d %H:%M} UTC"
    values = {"is_active": False, "ended_because": why}
    async with shop.write() as tx:
        await queries.update(tx, shop.tenant.id, message.subscription_id, values)
