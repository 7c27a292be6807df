"""The tags of an answer as a CDN is told them."""

from collections.abc import Iterable
from hashlib import blake2b
from uuid import UUID

from rcommerce.cache.positions import EVERYTHING


def cdn_tags(tenant: UUID, tags: Iterable[str]) -> bytes:
    """Short, as a page of 100 products has as many, and each of one tenant, as several may stand
    behind one CDN. One of them stands for all that the tenant has."""
    return b" ".join(sorted(cdn_tag(tenant, tag) for tag in (*tags, EVERYTHING)))


def cdn_tag(tenant: UUID, tag: str) -> bytes:
    """One of them: 64 bits of a hash, in hexadecimal."""
    return blake2b(tenant.bytes + tag.encode(), digest_size=8).hexdigest().encode()
