"""The rules of logging in and out: passwords, access and refresh tokens, sessions by cookie."""

import contextlib
from datetime import UTC, datetime
from uuid import UUID

import structlog
from msgspec import json

from rcommerce import clock, ids
from rcommerce.commerce.customers import passwords, queries, service, sessions, tokens
from rcommerce.commerce.customers.schema import (
    Credentials,
    Login,
    Person,
    Registration,
    Session,
    SessionsAnswer,
    SessionView,
    Standing,
)
from rcommerce.commerce.shop import Caller, Proof, Shop, StoredSession
from rcommerce.database import Connection
from rcommerce.errors import Invalid, NotFound, Unauthenticated, Unavailable

RESET_MINUTES = 60
_STANDING = json.Decoder(Standing)
log = structlog.get_logger()


async def register(shop: Shop, new: Registration) -> Session:
    """Registers a customer and logs them in. Raises Conflict if the email is taken."""
    await _require_patience(shop, "register")
    customer = await service.insert(shop, new, "customer")
    async with shop.write() as tx:
        answer = await _session(tx, shop, customer, ids.new_id(), "Welcome.")
    # The account exists: without a cookie for now, if sessions are unavailable.
    with contextlib.suppress(Unavailable):
        await _begin_session(shop, customer)
    return answer


async def login(shop: Shop, data: Login) -> Session:
    """Raises Unauthenticated, with the same message for a wrong email and a wrong password, TooMany
    after several attempts, Unavailable while sessions are unavailable."""
    await _require_patience(shop, "login", data.email)
    async with shop.read() as conn:
        customer = await queries.credentials(conn, shop.tenant.id, data.email.lower())
    stored = customer.password_hash if customer else None
    if not await passwords.matches(stored, data.password) or customer is None:
        raise Unauthenticated("the email or the password is wrong", code="invalid_credentials")
    await _begin_session(shop, customer)
    async with shop.write() as tx:
        return await _session(tx, shop, customer, ids.new_id(), "Welcome back.")


async def _require_patience(shop: Shop, what: str, email: str | None = None) -> None:
    """Raises TooMany after too many attempts from an address or for an account."""
    limits = shop.services.limits
    await limits.spend(f"{what}-address", f"{shop.tenant.id}:{shop.client.address}")
    if email is not None:
        await limits.spend(f"{what}-account", f"{shop.tenant.id}:{email.lower()}")


async def refresh(shop: Shop, refresh_token: str) -> Session:
    """A new pair of tokens. Raises Unauthenticated.

    A token that is used a second time was stolen, or its response was lost: its family is revoked
    (RFC 9700, section 4.14.2), and the customer logs in again.
    """
    token_hash = ids.token_hash(refresh_token)
    async with shop.write() as tx:
        state = await queries.use_refresh(tx, shop.tenant.id, token_hash)
        if state is not None and not state.was_used and not state.is_over:
            customer = await queries.credentials_of(tx, shop.tenant.id, state.customer_id)
            if customer is not None:
                return await _session(tx, shop, customer, state.family_id, "Refreshed.")
    if state is not None and state.was_used:
        family = state.family_id
        await shop.commit_apart(lambda tx: queries.revoke_family(tx, shop.tenant.id, family))
    raise Unauthenticated("the refresh token is not valid", code="invalid_refresh_token")


async def logout(shop: Shop, refresh_token: str | None) -> None:
    """Revokes the caller's cookie session, the access token sent, and a refresh token's family.
    Raises Unavailable while sessions are unavailable."""
    proof, customer = shop.caller.proof, shop.caller.customer_id
    if proof is not None and customer is not None:
        if proof.session is not None:
            await shop.services.sessions.end(shop, customer, [proof.session])
        if proof.token_id is not None:
            async with shop.write() as tx:
                await queries.revoke_token(
                    tx, shop.tenant.id, customer, proof.token_id, proof.expires_at
                )
            await service.forget(shop, customer)
    shop.new_session_token = ""
    if refresh_token is None:
        return
    async with shop.write() as tx:
        state = await queries.use_refresh(tx, shop.tenant.id, ids.token_hash(refresh_token))
        if state is not None:
            await queries.revoke_family(tx, shop.tenant.id, state.family_id)


async def logout_everywhere(shop: Shop) -> None:
    """Revokes all sessions, access tokens and refresh tokens of the caller."""
    customer = shop.caller.require_customer()
    async with shop.write() as tx:
        await _end_everything(tx, shop, customer)
    await service.forget(shop, customer)
    shop.new_session_token = ""


async def sessions_of(shop: Shop) -> SessionsAnswer:
    """The caller's cookie sessions. Raises Unauthenticated, Unavailable."""
    customer = shop.caller.require_customer()
    state = await _standing(shop, customer)
    mine = shop.caller.proof.session if shop.caller.proof else None
    found = await shop.services.sessions.all(shop, customer)
    held = [each for each in found if state and each[1].token_version == state.token_version]
    held.sort(key=lambda each: each[1].seen_at, reverse=True)
    views = [
        SessionView(
            id=sessions.public_id(token_hash),
            created_at=_rfc3339(session.created_at),
            last_seen_at=_rfc3339(session.seen_at),
            user_agent=session.user_agent,
            address=session.address,
            is_current=token_hash == mine,
        )
        for token_hash, session in held
    ]
    return SessionsAnswer(views)


async def end_session(shop: Shop, session_id: str) -> None:
    """Logs one of the caller's devices out. Raises NotFound, Unauthenticated, Unavailable."""
    customer = shop.caller.require_customer()
    found = await shop.services.sessions.all(shop, customer)
    hashes = [each for each, _ in found if sessions.public_id(each) == session_id]
    if not hashes:
        raise NotFound("session not found")
    await shop.services.sessions.end(shop, customer, hashes)


async def enter_by_session(shop: Shop, token: str) -> None:
    """Makes the customer of a cookie the caller; with an expired session the caller stays a guest.
    Raises Unavailable while sessions are unavailable."""
    token_hash = sessions.hash_of(token)
    found = await shop.services.sessions.find(shop, token_hash)
    if found is None:
        return
    state = await _standing(shop, found.customer_id)
    if state is not None and state.token_version == found.token_version:
        shop.caller = Caller(
            customer_id=found.customer_id,
            is_staff=found.role == "staff",
            proof=Proof(found.token_version, session=token_hash),
        )


async def require_standing(shop: Shop) -> None:
    """Raises Unauthenticated if the caller's access token was revoked."""
    proof, customer = shop.caller.proof, shop.caller.customer_id
    if proof is None or customer is None:
        return
    state = await _standing(shop, customer)
    if state is None:  # deleted, or the tenant has moved and this process does not know yet
        await shop.relocate()
        state = await _standing(shop, customer)
    if (
        state is None
        or state.token_version != proof.token_version
        or proof.token_id in state.revoked
    ):
        raise Unauthenticated("the token was revoked", code="token_revoked")


async def _standing(shop: Shop, customer: UUID) -> Standing | None:
    """The revoked tokens of a customer, from Redis or PostgreSQL. None: the account is deleted."""
    found = await shop.cached(
        service.DENY_LIST,
        str(customer),
        f"customer:{customer}",
        shop.services.settings.cache.customer_cache_ttl,
        lambda conn: queries.standing(conn, shop.tenant.id, customer),
    )
    return None if found is None else _STANDING.decode(found)


async def _end_everything(tx: Connection, shop: Shop, customer: UUID) -> None:
    await queries.revoke_all(tx, shop.tenant.id, customer)
    await queries.end_all_tokens(tx, shop.tenant.id, customer)


async def _begin_session(shop: Shop, customer: Credentials) -> None:
    """A new cookie instead of the client's present one: whoever knew that one is not logged in by
    it (session fixation)."""
    token, now = sessions.new_token(customer.role), clock.now()
    session = StoredSession(
        customer_id=customer.id,
        role=customer.role,
        token_version=customer.token_version,
        user_agent=shop.client.user_agent[: sessions.LONGEST_AGENT],
        address=shop.client.address,
        created_at=now,
        seen_at=now,
    )
    await shop.services.sessions.add(shop, sessions.hash_of(token), session)
    if shop.session_token is not None:
        before = sessions.hash_of(shop.session_token)
        old = await shop.services.sessions.find(shop, before)
        if old is not None:
            await shop.services.sessions.end(shop, old.customer_id, [before])
    shop.new_session_token = token


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


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
            secret,
            shop.tenant.id,
            customer.id,
            customer.role,
            customer.token_version,
            jwt.expiry_hours,
        ),
        refresh_token=refresh_token,
        token_type="Bearer",  # noqa: S106 - the kind of token (RFC 6750)
        expires_in=jwt.expiry_hours * 3600,
        message=message,
    )


async def request_reset(shop: Shop, email: str) -> None:
    """Mails a link if the customer exists; the response does not tell whether it does. Raises
    TooMany."""
    await _require_patience(shop, "password-reset", email)
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
        # The response must not differ from that for an unknown email.
        log.warning("mail_failed", error=str(error))


async def confirm_reset(shop: Shop, token: str, password: str) -> None:
    """Sets a new password and revokes every session. Raises Invalid for an invalid token,
    TooMany."""
    await _require_patience(shop, "password-reset")
    password_hash = await passwords.hashed(password)
    async with shop.write() as tx:
        customer = await queries.use_reset(tx, shop.tenant.id, ids.token_hash(token))
        if customer is None:
            raise Invalid.field("token", "is unknown, used or too old: ask for a new one")
        await queries.set_password(tx, shop.tenant.id, customer, password_hash)
        await _end_everything(tx, shop, customer)
    await service.forget(shop, customer)
