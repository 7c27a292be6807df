"""Idempotency-Key: a repeated POST gets the response of the first one.

Two ways, depending on the route:

- One transaction (most POSTs). The key's row, the work and the response are committed together: a
crash undoes all three, and a second request with the key waits for the first one's row.

- Several steps with a gateway call in between (`opt={"idempotency": STEPS}`). The service itself
can be repeated at any point; the row only stores the response, and lets a second request wait a
moment for the first. It does not wait for the disk: if a crash undoes it, the work is repeated.

Errors are not stored: the work is undone, and the same key may try again. What must survive an
error is committed apart (`Shop.commit_apart`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any
from uuid import UUID

from litestar.types import Receive, Scope, Send
from litestar.utils.scope.state import ScopeState

from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection
from rcommerce.errors import Conflict, Invalid, TooLarge, Unprocessable
from rcommerce.http.answer import Answer

STEPS = "steps"
BY_CONTENT = "by_content"
LONGEST_KEY = 255
SHORTEST_GUEST_KEY = 16
KEPT_HOURS = 24
WAIT_S, WAITS = 0.1, 50  # attempts to wait for the first of several: five seconds at most

Handle = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Undo(Exception):
    """Rolls the transaction back."""


async def handle(
    shop: Shop,
    headers: Mapping[str, str],
    scope: Scope,
    receive: Receive,
    send: Send,
    app: Handle,
    *,
    steps: bool,
) -> None:
    """Handles a POST that carries an Idempotency-Key. Raises Invalid, TooLarge, Unprocessable."""
    key = headers["idempotency-key"]
    caller = _holder(shop, headers)
    shortest = SHORTEST_GUEST_KEY if caller == "guest" else 1
    if not shortest <= len(key) <= LONGEST_KEY:
        raise Invalid.field(
            "Idempotency-Key", f"must have {shortest} to {LONGEST_KEY} characters, such as a UUID"
        )
    body = await _whole_body(receive, shop.services.settings.server.limits.max_request_size_mb)
    fingerprint = sha256(b"\n".join((scope["path"].encode(), scope["query_string"], body))).digest()
    params = {
        "tenant": shop.tenant.id,
        "caller": caller,
        "key": key,
        "fingerprint": fingerprint,
    }
    shop.idempotency_key = key
    run = _in_steps if steps else _in_one_transaction
    await run(shop, params, scope, _replayed(body, receive), send, app)


def _holder(shop: Shop, headers: Mapping[str, str]) -> str:
    """The owner of a key. Guests are told apart by their tokens; one without any must send a key
    that nobody else can guess, since another guest would get the stored response."""
    held = headers.get("x-cart-token") or headers.get("x-order-token")
    if shop.caller.name == "guest" and held:
        return f"guest:{sha256(held.encode()).hexdigest()}"
    return shop.caller.name


async def _in_one_transaction(
    shop: Shop, params: dict[str, Any], scope: Scope, receive: Receive, send: Send, app: Handle
) -> None:
    answer = Answer()
    try:
        async with shop.as_one() as tx:
            if not await _claim(tx, params):
                kept = await _kept(tx, params)
                if kept is None:
                    raise Conflict(
                        "a request with this Idempotency-Key is in progress", code="in_progress"
                    )
                answer = kept
            else:
                await app(scope, receive, answer.collect)
                _hold_back(scope)
                await _keep_or_undo(tx, params, answer)
    except _Undo:
        pass
    await answer.give(send)


async def _in_steps(
    shop: Shop, params: dict[str, Any], scope: Scope, receive: Receive, send: Send, app: Handle
) -> None:
    for _ in range(WAITS):
        async with shop.write_once(is_durable=False) as tx:
            if await _claim(tx, params):
                break
        async with shop.read() as conn:
            kept = await _kept(conn, params)
        if kept is not None:
            await kept.give(send)
            return
        await asyncio.sleep(WAIT_S)
    # Claimed, or its holder has failed or is slow: repeating is harmless.
    answer = Answer()
    done = False
    try:
        await app(scope, receive, answer.collect)
        _hold_back(scope)
        done = 0 < answer.status < 400
    finally:
        async with shop.write_once(is_durable=False) as tx:
            await (_keep(tx, params, answer) if done else _forget(tx, params))
    await answer.give(send)


def _hold_back(scope: Scope) -> None:
    """Tells the framework that the response has not begun: it was held back, and may become an
    error."""
    ScopeState.from_scope(scope).response_started = False


async def _claim(conn: Connection, params: dict[str, Any]) -> bool:
    """Whether the key is ours now: new, or left by a request that has not finished in time. Waits
    for a transaction that is about to decide it."""
    return bool(
        await conn.execute(
            """
            insert into idempotency_key as k (tenant_id, caller, key, fingerprint)
            values (%(tenant)s, %(caller)s, %(key)s, %(fingerprint)s)
            on conflict (tenant_id, caller, key) do update set created_at = now()
             where k.status is null and k.fingerprint = excluded.fingerprint
               and k.created_at < now() - make_interval(secs => %(patience_s)s)
            """,
            {**params, "patience_s": WAIT_S * WAITS},
        )
    )


async def _kept(conn: Connection, params: dict[str, Any]) -> Answer | None:
    """The response of a used key; None while it is in progress. Raises Unprocessable."""
    row = await conn.one_or_none(
        """
        select fingerprint, status, content_type, body from idempotency_key
         where (tenant_id, caller, key) = (%(tenant)s, %(caller)s, %(key)s)
        """,
        params,
    )
    if row is None or row[1] is None:
        if row is not None and row[0] != params["fingerprint"]:
            raise _reused()
        return None
    if row[0] != params["fingerprint"]:
        raise _reused()
    answer = Answer()
    headers = [
        (b"content-type", row[2].encode("latin-1")),
        (b"content-length", str(len(row[3])).encode()),
        (b"idempotent-replayed", b"true"),
        (b"cache-control", b"no-store"),
    ]
    await answer.collect({"type": "http.response.start", "status": row[1], "headers": headers})
    await answer.collect({"type": "http.response.body", "body": row[3], "more_body": False})
    return answer


def _reused() -> Unprocessable:
    return Unprocessable(
        "this Idempotency-Key was used for another request", code="idempotency_key_reused"
    )


async def _keep(conn: Connection, params: dict[str, Any], answer: Answer) -> None:
    await conn.execute(
        """
        update idempotency_key
           set status = %(status)s, content_type = %(content_type)s, body = %(body)s
         where (tenant_id, caller, key) = (%(tenant)s, %(caller)s, %(key)s) and status is null
        """,
        {
            **params,
            "status": answer.status,
            "content_type": answer.content_type,
            "body": answer.body,
        },
    )


async def _keep_or_undo(conn: Connection, params: dict[str, Any], answer: Answer) -> None:
    if answer.status >= 400:
        raise _Undo
    await _keep(conn, params, answer)


async def _forget(conn: Connection, params: dict[str, Any]) -> None:
    await conn.execute(
        """
        delete from idempotency_key
         where (tenant_id, caller, key) = (%(tenant)s, %(caller)s, %(key)s) and status is null
        """,
        params,
    )


async def with_old(conn: Connection) -> list[UUID]:
    """Tenants of this shard with expired responses."""
    rows = await conn.all(
        """
        select p.tenant_id from tenant_placement p
         where p.state = 'active' and exists (
            select from idempotency_key k
             where k.tenant_id = p.tenant_id
               and k.created_at < now() - make_interval(hours => %(hours)s))
        """,
        {"hours": KEPT_HOURS},
    )
    return [row[0] for row in rows]


async def forget_old(tx: Connection, shop: Shop, limit: int) -> int:
    """Deletes responses after a day; returns how many."""
    return await tx.execute(
        """
        delete from idempotency_key k
         using (
            select caller, key from idempotency_key
             where tenant_id = %(tenant)s
               and created_at < now() - make_interval(hours => %(hours)s)
             order by created_at
             limit %(limit)s
               for update skip locked) old
         where (k.tenant_id, k.caller, k.key) = (%(tenant)s, old.caller, old.key)
        """,
        {"tenant": shop.tenant.id, "limit": limit, "hours": KEPT_HOURS},
    )


async def _whole_body(receive: Receive, limit_mb: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit_mb * 1024 * 1024:
            raise TooLarge(f"a request has at most {limit_mb} MiB")
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body again, then what comes after it."""
    given = False

    async def replay() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
