"""The client's address, behind trusted proxies."""

from collections.abc import Mapping

from litestar.types import HTTPScope

from rcommerce.commerce.shop import Client
from rcommerce.rate_limits import Networks, is_among


def client(scope: HTTPScope, headers: Mapping[str, str], trusted: Networks) -> Client:
    """The client of a request. The last address in `X-Forwarded-For` that is no trusted proxy
    counts: anyone may have written those before it."""
    address = str((scope.get("client") or ("",))[0])
    for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
        if not hop.strip() or not is_among(address, trusted):
            break
        address = hop.strip()
    return Client(address[:64], headers.get("user-agent", ""))
