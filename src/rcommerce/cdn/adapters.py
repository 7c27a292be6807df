"""Adapters for CDNs that are purged by tag: a small HTTP call each. Add a class for another one."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import httpx
import msgspec

from rcommerce.errors import RCommerceError
from rcommerce.settings.schema import Cdn

TIMEOUT_S = 5.0


class CdnError(RCommerceError):
    """The CDN did not accept the purge; it is tried again."""


class Adapter(Protocol):
    """A CDN. `most_tags` is the maximum per purge; it reads a response's tags from the header
    `tags_header`, separated by `between`."""

    most_tags: int
    tags_header: bytes
    between: bytes

    async def purge(self, tags: Sequence[str]) -> None:
        """Purges every response with one of the tags. Raises CdnError."""


class Cloudflare:
    """Purge by `Cache-Tag` (developers.cloudflare.com/api, operation zone-purge)."""

    most_tags = 30
    tags_header, between = b"cache-tag", b","

    def __init__(self, settings: Cdn) -> None:
        self._url = f"{settings.cloudflare_url}/zones/{settings.cloudflare_zone_id}/purge_cache"
        self._headers = {"Authorization": f"Bearer {settings.api_token}"}

    async def purge(self, tags: Sequence[str]) -> None:
        answer = await _send("POST", self._url, self._headers, {"tags": list(tags)})
        if not answer.get("success"):
            raise CdnError(f"Cloudflare refuses the purge: {answer.get('errors')}")


class Fastly:
    """Purge by `Surrogate-Key` (www.fastly.com/documentation/reference/api/purging)."""

    most_tags = 256
    tags_header, between = b"surrogate-key", b" "

    def __init__(self, settings: Cdn) -> None:
        self._url = f"{settings.fastly_url}/service/{settings.fastly_service_id}/purge"
        self._headers = {"Fastly-Key": settings.api_token or "", "Accept": "application/json"}

    async def purge(self, tags: Sequence[str]) -> None:
        await _send("POST", self._url, {**self._headers, "Surrogate-Key": " ".join(tags)})


class Varnish:
    """Purge by `xkey`, as in docs/varnish.vcl: each Varnish in front of the shop."""

    most_tags = 100
    tags_header, between = b"surrogate-key", b" "

    def __init__(self, settings: Cdn) -> None:
        self._urls = settings.varnish_urls

    async def purge(self, tags: Sequence[str]) -> None:
        for url in self._urls:
            await _send("PURGE", url, {"xkey-purge": " ".join(tags)})


def adapter(settings: Cdn) -> Adapter | None:
    """The adapter for the settings; None without a CDN."""
    found: dict[str, type[Cloudflare] | type[Fastly] | type[Varnish]] = {
        "Cloudflare": Cloudflare,
        "Fastly": Fastly,
        "Varnish": Varnish,
    }
    return found[settings.provider](settings) if settings.provider in found else None


async def _send(
    method: str, url: str, headers: Mapping[str, str], body: object = None
) -> Mapping[str, object]:
    """The JSON of the response; empty if it is none. Raises CdnError."""
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.request(method, url, headers=headers, json=body)
    except httpx.HTTPError as error:
        raise CdnError(f"{method} {url}: {error or type(error).__name__}") from error
    if answer.status_code != 200:
        raise CdnError(f"{method} {url}: {answer.status_code} {answer.text[:300]}")
    try:
        found = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
