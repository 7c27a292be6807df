"""How a page goes out: in the encoding that the client takes, under an entity tag of its own."""

import brotli
import zstandard

from rcommerce.cache.pages import Page, Variant

Headers = list[tuple[bytes, bytes]]
SMALLEST = 512  # bytes; what is smaller is sent as it is
ENCODINGS = ("br", "zstd", "gzip")  # in the order of our preference
# Levels at which a page of 20 products takes well under a millisecond, once.
BROTLI_QUALITY, ZSTD_LEVEL, GZIP_LEVEL = 5, 6, 6
REMEMBERED = 1000
WAYS_TO_ASK = 32  # Accept-Encoding headers that a page remembers the answer to
# A browser asks each time, and mostly gets a 304; a CDN keeps it, and is told when it is stale.
CACHE_CONTROL = "max-age=0, s-maxage={ttl}, stale-while-revalidate=60, stale-if-error=86400"
VARY = b"Accept-Encoding, Authorization, X-Tenant-ID, X-Consistency-Token"
# A 304 has no more than RFC 9110 section 15.4.5 asks for: the client has the rest.
_OF_WHOLE = frozenset(
    {
        b"cache-tag",
        b"surrogate-key",
        b"access-control-allow-origin",  # told to an Origin by who gives the page
        b"access-control-expose-headers",
        b"x-content-type-options",
    }
)
_negotiated: dict[bytes, str] = {}


def negotiated(accept: bytes) -> str:
    """What an Accept-Encoding takes (RFC 9110 section 12.5.3): the best of ours, or identity."""
    found = _negotiated.get(accept)
    if found is None:
        if len(_negotiated) >= REMEMBERED:
            _negotiated.clear()
        found = _negotiated[accept] = _best(accept.decode("latin-1").lower())
    return found


def _best(accept: str) -> str:
    weights: dict[str, float] = {}
    for part in accept.split(","):
        name, _, parameters = part.strip().partition(";")
        quality = parameters.strip().removeprefix("q=")
        try:
            weights[name.strip()] = float(quality) if quality else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    taken = [each for each in ENCODINGS if weights.get(each, weights.get("*", 0.0)) > 0]
    return max(taken, key=lambda each: weights.get(each, weights.get("*", 0.0)), default="identity")


def _encoded(body: bytes, encoding: str) -> bytes:
    if encoding == "br":
        return bytes(brotli.compress(body, quality=BROTLI_QUALITY))
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body)
    if encoding == "gzip":
        import gzip

        return gzip.compress(body, GZIP_LEVEL, mtime=0)
    return body


def variant(page: Page, accept: bytes) -> Variant:
    """The page as a client takes it that says `accept`: encoded once, and found again by what was
    said."""
    encoding = negotiated(accept) if len(page.body) >= SMALLEST else "identity"
    found = page.encodings.get(encoding)
    if found is None:
        found = page.encodings[encoding] = _made(page, encoding)
    if len(page.variants) < WAYS_TO_ASK:
        page.variants[accept] = found
    return found


def _made(page: Page, encoding: str) -> Variant:
    body = _encoded(page.body, encoding)
    is_plain = encoding == "identity"
    etag = f'"{page.etag}{"" if is_plain else f"-{encoding}"}"'.encode()
    age = (b"age", b"0")
    whole = [
        (b"content-type", page.media_type.encode()),
        (b"etag", etag),
        *page.headers,
    ]
    if not is_plain:
        whole.append((b"content-encoding", encoding.encode()))
    unchanged = [each for each in ((b"etag", etag), *page.headers) if each[0] not in _OF_WHOLE]
    return Variant(body, etag, (*whole, age), (*unchanged, age))
