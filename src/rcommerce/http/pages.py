"""The pages that people see, the front page and the API's documentation: both work offline."""

from functools import cache
from pathlib import Path

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.response.base import ASGIResponse

from rcommerce import __version__

STATIC = Path(__file__).parent / "static"
ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "pages.css": "text/css; charset=utf-8",
}

FRONT_PAGE = (STATIC / "front.html").read_text("utf-8").replace("{version}", __version__).encode()
DOCS_PAGE = (STATIC / "docs.html").read_text("utf-8").replace("{version}", __version__).encode()


@cache
def _asset(name: str) -> bytes:
    return (STATIC / name).read_bytes()


@get("/docs", include_in_schema=False)
async def docs() -> ASGIResponse:
    """The API, to browse and to try."""
    return ASGIResponse(body=DOCS_PAGE, media_type="text/html; charset=utf-8")


@get("/docs/{name:str}", include_in_schema=False)
async def asset(name: str) -> ASGIResponse:
    """A file of the pages."""
    if name not in ASSETS:
        raise NotFoundException
    return ASGIResponse(
        body=_asset(name),
        media_type=ASSETS[name],
        headers={"Cache-Control": "public, max-age=3600"},
    )
