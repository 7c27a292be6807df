"""Who sent a request: the address that counts, behind proxies that are trusted."""

from collections.abc import Mapping

from litestar.types import HTTPScope

from rcommerce.commerce.shop import Client
from rcommerce.rate_limits import Networks, is_among


def client(scope: HTTPScope, headers: Mapping[str, str], trusted: Networks) -> Client:
    """The client of a request. Of `X-Forwarded-For` the last address counts that no trusted proxy
    has: what stands before it, anybody may have written."""
    address = str((scope.get("client") or ("",))[0])
    for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
        if not hop.strip() or not is_among(address, trusted):
            break
        address = hop.strip()
    return Client(address[:64], headers.get("user-agent", ""))
