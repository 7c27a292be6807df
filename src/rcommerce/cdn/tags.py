"""A response's tags in the form for a CDN."""

from collections.abc import Iterable
from hashlib import blake2b
from uuid import UUID

from rcommerce.cache.positions import EVERYTHING


def cdn_tags(tenant: UUID, tags: Iterable[str]) -> bytes:
    """Short, since a page of 100 products has as many; and unique per tenant, since one CDN may
    serve several. One of them stands for everything of the tenant."""
    return b" ".join(sorted(cdn_tag(tenant, tag) for tag in (*tags, EVERYTHING)))


def cdn_tag(tenant: UUID, tag: str) -> bytes:
    """One tag: 64 bits of a hash, in hexadecimal."""
    return blake2b(tenant.bytes + tag.encode(), digest_size=8).hexdigest().encode()
