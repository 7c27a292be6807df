"""The pages for people: the front page and the API's documentation. Both work offline."""

from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.response.base import ASGIResponse

from rcommerce import __version__
from rcommerce.commerce.parameters import IfNoneMatch
from rcommerce.http import ranges, security

STATIC = Path(__file__).parent / "static"
ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "docs.js": "text/javascript",
    "pages.css": "text/css",
    "ops.css": "text/css",
    "ops.js": "text/javascript",
}

FRONT_PAGE = (STATIC / "front.html").read_text("utf-8").replace("{version}", __version__).encode()
OPS_PAGE = (STATIC / "ops.html").read_text("utf-8").replace("{version}", __version__).encode()
DOCS_PAGE = (STATIC / "docs.html").read_text("utf-8").replace("{version}", __version__).encode()


@cache
def _asset(name: str) -> bytes:
    return (STATIC / name).read_bytes()


def unchanging(
    body: bytes, media_type: str, if_none_match: str | None, vary: str | None = None
) -> ASGIResponse:
    """A file that only changes with a release: cached for an hour, then revalidated by ETag."""
    tag = f'"{blake2b(body, digest_size=8).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "max-age=3600"}
    if media_type == "text/html":
        headers |= security.PAGE
    if vary:
        headers["Vary"] = vary
    if if_none_match is not None and tag in if_none_match:
        return ASGIResponse(status_code=304, headers=headers, body=b"")
    return ASGIResponse(body=body, media_type=media_type, headers=headers)


@get("/docs", include_in_schema=False)
async def docs(if_none_match: IfNoneMatch = None) -> ASGIResponse:
    """The API's documentation, to browse and to try."""
    return unchanging(DOCS_PAGE, "text/html", if_none_match)


@get("/docs/{name:str}", include_in_schema=False)
async def asset(request: Request[Any, Any, Any], name: str) -> ASGIResponse:
    """A file of the pages, or a range of it."""
    if name not in ASSETS:
        raise NotFoundException
    body, media_type, headers = _asset(name), ASSETS[name], request.headers
    whole = unchanging(body, media_type, headers.get("if-none-match"))
    whole.headers["Accept-Ranges"] = "bytes"
    tag = whole.headers["etag"]
    part = ranges.wanted(len(body), headers.get("range"), headers.get("if-range"), tag)
    if part is None or whole.status_code == 304:
        return whole
    if not part:
        return ASGIResponse(status_code=416, headers={"Content-Range": f"bytes */{len(body)}"})
    shown = f"bytes {part.start}-{part.stop - 1}/{len(body)}"
    return ASGIResponse(
        body=body[part.start : part.stop],
        status_code=206,
        media_type=media_type,
        headers={**dict(whole.headers), "Content-Range": shown},
    )
