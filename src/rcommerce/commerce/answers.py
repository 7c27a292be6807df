"""Route results: JSON bytes and their headers."""

from typing import Any

from litestar.openapi.datastructures import ResponseSpec
from litestar.response.base import ASGIResponse

from rcommerce.commerce import versions


def json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> ASGIResponse:
    """A response with these bytes."""
    return ASGIResponse(
        body=body, status_code=status, media_type="application/json", headers=headers or {}
    )


def versioned(
    version: str, body: bytes, *, status: int = 200, if_none_match: str | None = None
) -> ASGIResponse:
    """A response with an ETag; 304 if the client has these bytes (RFC 9110, section 13.1.2)."""
    tag = versions.etag(version, body)
    if if_none_match is not None and tag in if_none_match:
        return ASGIResponse(status_code=304, headers={"ETag": tag}, body=b"")
    return json(body, status, {"ETag": tag})


def documented(view: Any, status: int = 200, description: str = "") -> dict[int, ResponseSpec]:
    """The OpenAPI schema of a response that PostgreSQL built."""
    return {
        status: ResponseSpec(
            data_container=view,
            description=description or "The answer",
            generate_examples=False,  # they would be random words
        )
    }
