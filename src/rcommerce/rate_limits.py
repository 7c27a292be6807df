"""Rate limits by the `limits` library: sliding windows, shared through Redis; without Redis, or
while it is unavailable, each process counts for itself."""

import time
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from rcommerce.cache.redis import Commands, Redis, RedisAway
from rcommerce.errors import TooMany
from rcommerce.settings import Settings

NAMESPACE = "rate:limit"
Networks = list[IPv4Network | IPv6Network]


class Policy(NamedTuple):
    """A maximum number of requests in a time, for a kind of caller."""

    name: str
    item: RateLimitItem
    who: str


class Verdict(NamedTuple):
    """What is left of a policy. `reset_s` is when there is more."""

    policy: Policy
    is_allowed: bool
    left: int
    reset_s: int


def limit_headers(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """The headers with this (draft-ietf-httpapi-ratelimit-headers-10)."""
    policies, left = [], []
    for policy, _, remaining, reset_s in verdicts:
        item = policy.item
        policies.append(f'"{policy.name}";q={item.amount};w={item.get_expiry()}')
        left.append(f'"{policy.name}";r={remaining};t={reset_s}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)}


class Limits:
    """Counts requests. Costs two round trips per policy."""

    def __init__(self, settings: Settings, redis: Redis | None) -> None:
        self.refused = 0
        self._redis = redis
        self._commands: Commands = None
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = self._local
        given = settings.rate_limiting
        self.shows = given.expose_headers
        login = RateLimitItemPerMinute(given.logins_per_address_per_minute)
        reset = RateLimitItemPerHour(given.password_resets_per_address_per_hour)
        self._named: dict[str, RateLimitItem] = {
            "gift-card": RateLimitItemPerMinute(given.gift_cards_per_address_per_minute),
            "login-account": RateLimitItemPerMinute(given.logins_per_account_per_minute),
            "login-address": login,
            "register-address": login,
            "password-reset-account": RateLimitItemPerHour(
                given.password_resets_per_account_per_hour
            ),
            "password-reset-address": reset,
        }

    async def spend(self, name: str, who: str) -> None:
        """Counts an attempt that has a limit of its own. Raises TooMany."""
        verdict = await self.hit(Policy(name, self._named[name], who))
        if not verdict.is_allowed:
            raise self.refusal([verdict])

    async def hit(self, policy: Policy) -> Verdict:
        """Counts one request against a policy."""
        if self._redis is None:
            return await self._count(self._local, policy)
        try:
            return await self._redis.ask(
                f"{{{policy.who}}}", lambda commands: self._count(self._sharing(commands), policy)
            )
        except RedisAway:
            return await self._count(self._local, policy)

    def refusal(self, verdicts: list[Verdict]) -> TooMany:
        """The error for a client over a limit."""
        self.refused += 1
        worst = max((each for each in verdicts if not each.is_allowed), key=lambda v: v.reset_s)
        item = worst.policy.item
        return TooMany(
            f"more than {item.amount} requests in {item.get_expiry()} s ({worst.policy.name}):"
            f" try again in {worst.reset_s} s",
            retry_after_s=worst.reset_s,
            headers=limit_headers(verdicts) if self.shows else {},
        )

    async def _count(self, limiter: SlidingWindowCounterRateLimiter, policy: Policy) -> Verdict:
        is_allowed = await limiter.hit(policy.item, policy.name, policy.who)
        stats = await limiter.get_window_stats(policy.item, policy.name, policy.who)
        reset_s = max(1, round(stats.reset_time - time.time() + 0.5))
        return Verdict(policy, is_allowed, stats.remaining, reset_s)

    def _sharing(self, commands: Commands) -> SlidingWindowCounterRateLimiter:
        """The limiter on this client: after a failover it is another one."""
        assert self._redis is not None  # noqa: S101 - only asked with one
        if commands is not self._commands:
            storage = RedisStorage(
                "async+redis://",
                implementation="redispy",
                key_prefix=f"{self._redis.prefix}{NAMESPACE}",
            )
            bridge: Any = storage.bridge
            bridge.storage, bridge.connection_getter = commands, lambda _: commands
            bridge.register_scripts()
            self._commands, self._shared = commands, SlidingWindowCounterRateLimiter(storage)
        return self._shared


def networks(texts: Iterable[str]) -> Networks:
    """Addresses and networks, such as 10.0.0.0/8. Raises ValueError."""
    return [ip_network(text, strict=False) for text in texts]


def is_among(address: str, found: Networks) -> bool:
    """Whether an address is in one of the networks."""
    if not found:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in found)
