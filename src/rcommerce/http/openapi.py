"""The OpenAPI document (https://spec.openapis.org/oas/v3.1.0)."""

from typing import Any

import msgspec
from litestar import Litestar, Request, get
from litestar.datastructures import State
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme, Tag
from litestar.response.base import ASGIResponse

from rcommerce import __version__
from rcommerce.http.problems import MEDIA_TYPE

DESCRIPTION = """
A headless shop: catalogue, inventory, carts, checkout, orders, customers and payments.

- **Who asks**: catalogue reads, guest carts and guest checkout need nobody. Customers and staff log
  in (`Authorization: Bearer <token>`), programs use an API key (`Authorization: Bearer ak_…`).
- **Money** is a decimal string with the digits of its currency; times are RFC 3339 in UTC.
- **Errors** are problem details (RFC 9457) with a stable `code`.
- **Every POST** takes an `Idempotency-Key`: sent again, it gives the same answer for a day.
- **Lists** page by `meta.next_cursor`, or by `page` and `per_page`.
"""
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "error", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "a stable word for machines"},
        "error": {"type": "string", "description": "the detail again"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "examples": [
        {
            "type": "about:blank",
            "title": "Invalid request",
            "status": 400,
            "detail": "quantity: Expected int >= 1",
            "instance": "/api/v1/carts/…/items",
            "code": "validation_failed",
            "error": "quantity: Expected int >= 1",
            "errors": [{"field": "quantity", "message": "Expected int >= 1"}],
        }
    ],
}
TAGS = {
    "Catalogue": "Products, collections and the category tree",
    "Carts": "A guest's by its token, a customer's by their login",
    "Checkout": "From a cart to a paid order",
    "Orders": "Their states, and what is sent",
    "Payments": "Gateways, refunds and their events",
    "Customers": "Who buys, and where they live",
    "Auth": "Registration, login and tokens",
    "Inventory": "Stock by location, with its movements",
    "Operations": "Health",
}


def config() -> OpenAPIConfig:
    """What the framework generates the document from."""
    bearer = SecurityScheme(type="http", scheme="bearer", description="A token or an API key")
    return OpenAPIConfig(
        title="R Commerce API",
        version=__version__,
        description=DESCRIPTION,
        use_handler_docstrings=True,
        components=Components(security_schemes={"bearer": bearer}),
        security=[{"bearer": []}, {}],
        tags=[Tag(name=name, description=text) for name, text in TAGS.items()],
        enabled_endpoints=set(),
    )


@get("/openapi.json", include_in_schema=False)
async def openapi(request: Request[None, None, State]) -> ASGIResponse:
    """The document."""
    app: Litestar = request.app
    if "openapi" not in app.state:
        app.state.openapi = document(app)
    return ASGIResponse(
        body=app.state.openapi,
        media_type="application/json",
        headers={"Cache-Control": "public, max-age=60"},
    )


def document(app: Litestar) -> bytes:
    """The document as JSON."""
    schema: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(app.openapi_schema.to_schema())
    )
    schema["components"]["schemas"]["Problem"] = PROBLEM
    for path in schema["paths"].values():
        for operation in path.values():
            _problems(operation)
    _decimals_are_text(schema)
    return msgspec.json.encode(schema)


def _problems(operation: dict[str, Any]) -> None:
    """Every error is a Problem, whatever the framework thinks of its own."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answers = operation["responses"]
    for status in [status for status in answers if int(status) >= 400]:
        del answers[status]
    answers["default"] = {"description": "A problem (RFC 9457)", "content": content}


def _decimals_are_text(node: Any) -> None:
    """Money and measures travel as decimal strings; a JSON number is understood, too."""
    if isinstance(node, list):
        for each in node:
            _decimals_are_text(each)
    elif isinstance(node, dict):
        if node.get("format") == "decimal":
            node["type"] = "string"
        for each in node.values():
            _decimals_are_text(each)
