"""A cached response in the encoding that the client accepts, each with its own entity tag."""

import brotli
import zstandard

from rcommerce.cache.responses import CachedResponse, Variant

Headers = list[tuple[bytes, bytes]]
SMALLEST = 512  # bytes; smaller bodies are not compressed
ENCODINGS = ("br", "zstd", "gzip")  # in order of preference
# With these levels, compressing a list of 20 products takes well under a millisecond.
BROTLI_QUALITY, ZSTD_LEVEL, GZIP_LEVEL = 5, 6, 6
REMEMBERED = 1000
MOST_VARIANTS = 32  # Accept-Encoding headers per response whose result is kept
# Browsers revalidate each time and usually get a 304; a CDN is purged when it is stale.
CACHE_CONTROL = "max-age=0, s-maxage={ttl}, stale-while-revalidate={stale}, stale-if-error=86400"
# Until prices change at a known time: nothing is served from then on.
BOUNDED_CONTROL = "max-age=0, s-maxage={ttl}, proxy-revalidate"
STALE_S = 60  # how long a CDN may serve a stale response while it fetches a new one
VARY = b"Accept-Encoding, Authorization, X-Tenant-ID, X-Channel, X-Consistency-Token"
# Headers that a 304 does not repeat (RFC 9110, section 15.4.5): the client has them.
_OF_WHOLE = frozenset(
    {
        b"cache-tag",
        b"surrogate-key",
        b"access-control-allow-origin",  # added per request, for its Origin
        b"access-control-expose-headers",
        b"x-content-type-options",
    }
)
_negotiated: dict[bytes, str] = {}


def negotiated(accept: bytes) -> str:
    """The encoding for an Accept-Encoding header (RFC 9110, section 12.5.3), or `identity`."""
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


def variant(response: CachedResponse, accept: bytes) -> Variant:
    """The response for an Accept-Encoding header. Each encoding is made once."""
    encoding = negotiated(accept) if len(response.body) >= SMALLEST else "identity"
    found = response.encodings.get(encoding)
    if found is None:
        found = response.encodings[encoding] = _made(response, encoding)
    if len(response.variants) < MOST_VARIANTS:
        response.variants[accept] = found
    return found


def _made(response: CachedResponse, encoding: str) -> Variant:
    body = _encoded(response.body, encoding)
    is_plain = encoding == "identity"
    etag = f'"{response.etag}{"" if is_plain else f"-{encoding}"}"'.encode()
    age = (b"age", b"0")
    whole = [
        (b"content-type", response.media_type.encode()),
        (b"etag", etag),
        *response.headers,
    ]
    if not is_plain:
        whole.append((b"content-encoding", encoding.encode()))
    unchanged = [each for each in ((b"etag", etag), *response.headers) if each[0] not in _OF_WHOLE]
    return Variant(body, etag, (*whole, age), (*unchanged, age))
