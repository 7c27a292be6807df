"""The pages that people see, the front page and the API's documentation: both work offline."""

from functools import cache
from hashlib import blake2b
from pathlib import Path

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.response.base import ASGIResponse

from rcommerce import __version__
from rcommerce.commerce.parameters import IfNoneMatch

STATIC = Path(__file__).parent / "static"
ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "docs.js": "text/javascript",
    "pages.css": "text/css",
}

FRONT_PAGE = (STATIC / "front.html").read_text("utf-8").replace("{version}", __version__).encode()
DOCS_PAGE = (STATIC / "docs.html").read_text("utf-8").replace("{version}", __version__).encode()


@cache
def _asset(name: str) -> bytes:
    return (STATIC / name).read_bytes()


def unchanging(
    body: bytes, media_type: str, if_none_match: str | None, vary: str | None = None
) -> ASGIResponse:
    """What is the same until the next release: kept for an hour, and then asked for by its ETag."""
    tag = f'"{blake2b(body, digest_size=8).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "max-age=3600"}
    if vary:
        headers["Vary"] = vary
    if if_none_match is not None and tag in if_none_match:
        return ASGIResponse(status_code=304, headers=headers, body=b"")
    return ASGIResponse(body=body, media_type=media_type, headers=headers)


@get("/docs", include_in_schema=False)
async def docs(if_none_match: IfNoneMatch = None) -> ASGIResponse:
    """The API, to browse and to try."""
    return unchanging(DOCS_PAGE, "text/html", if_none_match)


@get("/docs/{name:str}", include_in_schema=False)
async def asset(name: str, if_none_match: IfNoneMatch = None) -> ASGIResponse:
    """A file of the pages."""
    if name not in ASSETS:
        raise NotFoundException
    return unchanging(_asset(name), ASSETS[name], if_none_match)
