"""Rate limits, `[rate_limiting]`."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from limits import (
    RateLimitItem,
    RateLimitItemPerDay,
    RateLimitItemPerHour,
    RateLimitItemPerMinute,
    RateLimitItemPerSecond,
)
from litestar.types import Message, Send

from rcommerce.commerce.shop import Caller
from rcommerce.errors import Forbidden, TooMany
from rcommerce.rate_limits import Limits, Policy, Verdict, is_among, limit_headers, networks
from rcommerce.settings import Settings


class RateLimiting:
    """The policies of the settings. If disabled, nothing is counted."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        given, server = settings.rate_limiting, settings.server.limits
        self.is_on = given.enabled
        self._limits = limits
        self._free, self._blocked = networks(given.allowlist), networks(given.blocklist)
        self._at_once: Counter[str] = Counter()
        self._most_at_once = given.max_concurrent_per_ip
        self._of_address: list[tuple[str, RateLimitItem]] = []
        if server.rate_limit_per_minute:
            limit = RateLimitItemPerMinute(server.rate_limit_per_minute)
            self._of_address.append(("address", limit))
        if server.rate_limit_burst:
            self._of_address.append(("burst", RateLimitItemPerSecond(server.rate_limit_burst)))
        self._of_caller: list[tuple[str, RateLimitItem]] = [
            ("caller", RateLimitItemPerMinute(given.requests_per_minute))
        ]
        if given.requests_per_hour is not None:
            self._of_caller.append(("caller-hour", RateLimitItemPerHour(given.requests_per_hour)))
        if given.requests_per_day is not None:
            self._of_caller.append(("caller-day", RateLimitItemPerDay(given.requests_per_day)))
        self._of_key = [("key", RateLimitItemPerMinute(given.api_key_requests_per_minute))]
        self._of_tenant = [
            ("tenant", RateLimitItemPerMinute(most))
            for most in (given.tenant_requests_per_minute,)
            if most is not None
        ]

    @property
    def looks(self) -> bool:
        """Whether any request may be refused."""
        return self.is_on or self.blocks

    @property
    def blocks(self) -> bool:
        """Whether any address is blocked."""
        return bool(self._blocked)

    def is_blocked(self, address: str) -> bool:
        """Whether this address is blocked."""
        return is_among(address, self._blocked)

    @asynccontextmanager
    async def admit(self, address: str) -> AsyncIterator[list[Verdict]]:
        """Admits an address, before the caller is known. Raises Forbidden, TooMany."""
        if self.is_blocked(address):
            raise Forbidden("this address is blocked", code="address_blocked")
        if not self.is_on or is_among(address, self._free):
            yield []
            return
        if self._at_once[address] >= self._most_at_once:
            raise TooMany(
                f"more than {self._most_at_once} requests at once from one address",
                code="too_many_at_once",
                retry_after_s=1,
            )
        self._at_once[address] += 1
        try:
            yield await self._spend([Policy(*each, address) for each in self._of_address])
        finally:
            self._at_once[address] -= 1
            if not self._at_once[address]:
                del self._at_once[address]

    async def count(
        self, address: str, caller: Caller, tenant: UUID, verdicts: list[Verdict]
    ) -> None:
        """Counts the request for its caller and its tenant; adds to `verdicts`. Raises TooMany."""
        if not self.is_on or is_among(address, self._free):
            return
        if caller.key is not None:
            policies = [Policy(*each, caller.key) for each in self._of_key]
        else:
            who = str(caller.customer_id or address)
            policies = [Policy(*each, who) for each in self._of_caller]
        policies += [Policy(*each, str(tenant)) for each in self._of_tenant]
        verdicts += await self._spend(policies)

    async def _spend(self, policies: list[Policy]) -> list[Verdict]:
        found = [await self._limits.hit(policy) for policy in policies]
        if not all(each.is_allowed for each in found):
            raise self._limits.refusal(found)
        return found

    def announcing(self, verdicts: list[Verdict], send: Send) -> Send:
        """A `send` that adds headers with what is left. `verdicts` may grow until then."""
        if not self.is_on or not self._limits.shows:
            return send

        async def announce(message: Message) -> None:
            if message["type"] == "http.response.start" and verdicts:
                named = [
                    (name.lower().encode(), text.encode())
                    for name, text in limit_headers(verdicts).items()
                ]
                message["headers"] = [*message["headers"], *named]
            await send(message)

        return announce
