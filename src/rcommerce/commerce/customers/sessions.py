"""Cookie sessions: in Redis, for 24 hours after the last request; without Redis, in the tenant's
database.

A cookie's value is random; only its hash is stored. It begins with a mark for staff, so that caches
can tell without a lookup; forging it gains nothing.
"""

import contextlib
from collections.abc import Sequence
from uuid import UUID

import msgspec

from rcommerce import clock, ids
from rcommerce.cache.redis import Redis, RedisAway
from rcommerce.commerce.customers import queries
from rcommerce.commerce.shop import Shop, StoredSession
from rcommerce.errors import Unavailable

LONGEST_S = 30 * 86400  # maximum, however often it is used (OWASP: absolute timeout)
STAFF, CUSTOMER = "s_", "c_"
LONGEST_AGENT = 300
AWAY = "sessions are away for a moment: try again"
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(StoredSession)


class DatabaseSessions:
    """In the database of the tenant's shard."""

    def __init__(self, ttl_s: int) -> None:
        self._ttl_s = ttl_s

    async def add(self, shop: Shop, token_hash: str, session: StoredSession) -> None:
        async with shop.write() as tx:
            await queries.forget_sessions(
                tx, shop.tenant.id, session.customer_id, self._ttl_s, LONGEST_S
            )
            await queries.insert_session(tx, shop.tenant.id, token_hash, session)

    async def find(self, shop: Shop, token_hash: str) -> StoredSession | None:
        async with shop.read() as conn:
            found = await queries.session(conn, shop.tenant.id, token_hash, self._ttl_s, LONGEST_S)
        # The last use is written once a minute at most.
        if found is not None and clock.now() - found.seen_at > min(60, self._ttl_s / 4):
            with contextlib.suppress(Unavailable):  # reading needs no primary
                async with shop.write_once() as tx:
                    await queries.touch_session(tx, shop.tenant.id, token_hash)
        return found

    async def all(self, shop: Shop, customer: UUID) -> Sequence[tuple[str, StoredSession]]:
        async with shop.read() as conn:
            return await queries.sessions(conn, shop.tenant.id, customer, self._ttl_s, LONGEST_S)

    async def end(self, shop: Shop, customer: UUID, token_hashes: Sequence[str]) -> None:
        async with shop.write() as tx:
            await queries.end_sessions(tx, shop.tenant.id, customer, list(token_hashes))


class RedisSessions:
    """In Redis, where every instance finds them: `session:TENANT:HASH`, and each customer's hashes
    in a set beside it."""

    def __init__(self, redis: Redis, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    async def add(self, shop: Shop, token_hash: str, session: StoredSession) -> None:
        of, key, raw = (
            self._of(shop, session.customer_id),
            self._key(shop, token_hash),
            _raw(session),
        )
        try:
            # Listed first: a session that is not listed could not be revoked.
            await self._redis.call("sadd", of, token_hash)
            await self._redis.call("expire", of, LONGEST_S)
            await self._redis.call("set", key, raw, ex=self._ttl_s)
        except RedisAway as away:
            raise Unavailable(AWAY, code="sessions_unavailable") from away

    async def find(self, shop: Shop, token_hash: str) -> StoredSession | None:
        key = self._key(shop, token_hash)
        try:
            raw = await self._redis.call("getex", key, ex=self._ttl_s)
        except RedisAway as away:
            raise Unavailable(AWAY, code="sessions_unavailable") from away
        found = None if raw is None else _read(raw)
        return None if found is None or found.created_at < clock.now() - LONGEST_S else found

    async def all(self, shop: Shop, customer: UUID) -> Sequence[tuple[str, StoredSession]]:
        of = self._of(shop, customer)
        found, over = [], []
        try:
            for name in sorted(await self._redis.call("smembers", of)):
                token_hash = name.decode()
                key = self._key(shop, token_hash)
                raw = await self._redis.call("get", key)
                left_s = await self._redis.call("ttl", key)
                session = None if raw is None else _read(raw)
                if session is None:
                    over.append(name)
                    continue
                session.seen_at = clock.now() - (self._ttl_s - left_s)
                found.append((token_hash, session))
            if over:
                await self._redis.call("srem", of, *over)
        except RedisAway as away:
            raise Unavailable(AWAY, code="sessions_unavailable") from away
        return found

    async def end(self, shop: Shop, customer: UUID, token_hashes: Sequence[str]) -> None:
        of = self._of(shop, customer)
        try:
            for token_hash in token_hashes:
                key = self._key(shop, token_hash)
                await self._redis.call("delete", key)
            if token_hashes:
                await self._redis.call("srem", of, *token_hashes)
        except RedisAway as away:
            raise Unavailable(AWAY, code="sessions_unavailable") from away

    def _key(self, shop: Shop, token_hash: str) -> str:
        return f"{self._redis.prefix}session:{shop.tenant.id}:{token_hash}"

    def _of(self, shop: Shop, customer: UUID) -> str:
        return f"{self._redis.prefix}session:of:{shop.tenant.id}:{customer}"


def new_token(role: str) -> str:
    """The value of a new cookie."""
    return (STAFF if role == "staff" else CUSTOMER) + ids.secret_token()


def hash_of(token: str) -> str:
    """The hash that is stored of it."""
    return ids.token_hash(token).hex()


def public_id(token_hash: str) -> str:
    """A session's id in the API: half of its hash, which gives no access."""
    return token_hash[:32]


def _raw(session: StoredSession) -> bytes:
    return _ENCODER.encode(session)


def _read(raw: bytes) -> StoredSession | None:
    """A session; None if the bytes are none. Sessions outlive releases: a new field needs a
    default, and a removed one is ignored."""
    try:
        return _DECODER.decode(raw)
    except msgspec.DecodeError:
        return None
