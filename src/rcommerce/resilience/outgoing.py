"""Requests to addresses that shops choose: to public addresses only, with a breaker per host.

A name is resolved when the connection is made, and exactly that address is connected to: a name
that resolves to another address later (DNS rebinding) gains nothing.
"""

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpcore

from rcommerce import tracing
from rcommerce.errors import RCommerceError
from rcommerce.resilience.breaker import Breaker

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
REST_S = 30.0  # seconds that a failed host is not called, until one trial call
HOSTS = 1000  # hosts whose breakers are kept
MOST_BODY = 64 * 1024  # bytes of a response that are read


class CallFailed(RCommerceError):
    """No response. `is_refused`: there will never be one, since the address is private."""

    def __init__(self, why: str, *, is_refused: bool = False) -> None:
        super().__init__(why)
        self.is_refused = is_refused


class HostRests(RCommerceError):
    """The host has just failed, and is not called yet."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, and the beginning of its body."""

    status: int
    body: bytes


def is_public(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an address is public; the IPv4 address inside an IPv6 one counts, too."""
    if any(address.version == each.version and address in each for each in allowed):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner, allowed)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


class _PublicOnly(httpcore.AsyncNetworkBackend):
    """Connects to public addresses, and to the networks that the settings allow."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library calls it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} is not known: {error}") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        for each in addresses:
            if not is_public(ipaddress.ip_address(each.partition("%")[0]), self._allowed):
                raise CallFailed(f"{host} is at {each}, which is not public", is_refused=True)
        failed: Exception = httpcore.ConnectError(f"{host} has no address")
        for each in addresses:
            try:
                return await self._inner.connect_tcp(
                    each, port, timeout, local_address, socket_options
                )
            except httpcore.ConnectError as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Outgoing:
    """Sends to hosts that shops have named. Redirects are not followed."""

    def __init__(self, allowed: Sequence[str], timeout_s: float) -> None:
        self._allowed = [ipaddress.ip_network(each, strict=False) for each in allowed]
        self._timeout_s = timeout_s
        self.breakers: OrderedDict[str, Breaker] = OrderedDict()

    @functools.cached_property
    def _pool(self) -> httpcore.AsyncConnectionPool:
        """Made with the first call: reading the certificate authorities takes 30 ms, and few
        processes call."""
        return httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=50,
            max_keepalive_connections=10,
            keepalive_expiry=10,
            network_backend=_PublicOnly(self._allowed),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Raises CallFailed without a response, HostRests if the host was not called."""
        host = urlsplit(url).netloc.rpartition("@")[2]
        lines = dict(headers)
        breaker = self._breaker(host)
        if not breaker.admits(REST_S):
            raise HostRests(f"{host} has failed: {breaker.cause}")
        try:
            with tracing.span("POST", "CLIENT", {"server.address": host}):
                tracing.inject(lines)
                async with (
                    asyncio.timeout(self._timeout_s),
                    self._pool.stream(
                        "POST", url, headers=list(lines.items()), content=body
                    ) as response,
                ):
                    read = b""
                    async for chunk in response.aiter_stream():
                        read += chunk
                        if len(read) >= MOST_BODY:
                            break
        except CallFailed:
            raise
        except TimeoutError as error:
            why = f"no answer in {self._timeout_s:g} s"
            breaker.failed(why)
            raise CallFailed(why) from error
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
            httpcore.UnsupportedProtocol,
            OSError,
        ) as error:
            why = f"{type(error).__name__}: {error}"[:300]
            breaker.failed(why)
            raise CallFailed(why) from error
        if response.status >= 500:
            breaker.failed(f"status {response.status}")
        else:
            breaker.succeeded()
        return Answer(response.status, read[:MOST_BODY])

    def _breaker(self, host: str) -> Breaker:
        found = self.breakers.get(host)
        if found is None:
            found = self.breakers[host] = Breaker(f"webhooks {host}")
            if len(self.breakers) > HOSTS:
                self.breakers.popitem(last=False)
        self.breakers.move_to_end(host)
        return found

    async def close(self) -> None:
        """Closes all connections."""
        if "_pool" in self.__dict__:
            await self._pool.aclose()
