"""Serves the files of media, and receives direct uploads to a folder.

A file's name is a hash of its bytes: clients may keep it for ever, and revalidation needs no look
into the store.
"""

from collections.abc import Callable, Mapping
from typing import Any

from litestar import Request, get, put
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse

from rcommerce.commerce.media import paths
from rcommerce.commerce.media.files import TYPES
from rcommerce.commerce.media.service import may_send
from rcommerce.commerce.media.uploads import received
from rcommerce.commerce.shop import Services
from rcommerce.errors import Forbidden, NotFound
from rcommerce.http import ranges
from rcommerce.http.entry import HEAD

HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Accept-Ranges": "bytes",
    # Files are shown and run no scripts: not even a PDF that contains one.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Access-Control-Allow-Origin": "*",
}


@get("/media/{path:path}", include_in_schema=False)
async def file(services: Services, request: Request[Any, Any, Any], path: str) -> ASGIResponse:
    """An upload or a rendition, whole or a range of it."""
    key = path.lstrip("/")
    name = paths.parsed(key)
    if name is None or name.extension not in TYPES:
        raise NotFound("file not found")
    headers = {**HEADERS, "ETag": name.etag}
    if name.etag in request.headers.get("if-none-match", ""):
        return ASGIResponse(status_code=304, headers=headers, body=b"")
    headers["Content-Type"] = TYPES[name.extension]
    if HEAD in request.scope:
        size = (await services.objects.find(key)).size_bytes
        return ASGIResponse(headers={**headers, "Content-Length": str(size)}, body=b"")
    asked = request.headers.get("range")
    reading = await services.objects.read(
        key, None if asked is None else _span(asked, request.headers, name.etag)
    )
    size, span = reading.size_bytes, reading.span
    if not span:
        return ASGIResponse(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    if span != range(size):
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    headers["Content-Length"] = str(len(span))
    return ASGIStreamingResponse(
        iterator=reading.chunks,
        status_code=200 if span == range(size) else 206,
        headers=headers,
    )


def _span(asked: str, headers: Mapping[str, str], etag: str) -> Callable[[int], range]:
    def wanted(size: int) -> range:
        part = ranges.wanted(size, asked, headers.get("if-range"), etag)
        return range(size) if part is None else part

    return wanted


@put("/media/{path:path}", include_in_schema=False, status_code=200, request_max_body_size=None)
async def send(
    services: Services,
    request: Request[Any, Any, Any],
    path: str,
    expires: str = "",
    signature: str = "",
) -> ASGIResponse:
    """A direct upload to this server, with the same request as to a bucket's signed URL."""
    key = path.lstrip("/")
    if not may_send(services, key, expires, signature):
        raise Forbidden("this address takes no upload, or has expired", code="upload_expired")
    most = services.settings.media.max_upload_mb
    async with received(request.stream(), "", most) as upload:
        await services.objects.put(key, upload.path, "application/octet-stream", upload.size_bytes)
    return ASGIResponse(body=b"")
