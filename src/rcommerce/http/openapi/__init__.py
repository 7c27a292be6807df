"""The OpenAPI document (https://spec.openapis.org/oas/v3.1.0)."""

from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Request, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import License, Tag
from litestar.response.base import ASGIResponse
from litestar.routes import HTTPRoute
from litestar.types import Method

from rcommerce import __version__
from rcommerce.database.consistency import HEADER
from rcommerce.http.openapi import codes, security, tidy
from rcommerce.http.pages import unchanging
from rcommerce.http.problems import MEDIA_TYPE

DESCRIPTION = """
Headless commerce: catalogue, inventory, carts, checkout, orders, customers and payments.

- **Authentication**: catalogue reads, guest carts and guest checkout need no credentials. Customers
  and staff log in (`Authorization: Bearer <token>`); programs use an API key
  (`Authorization: Bearer ak_…`).
- **Money** is a decimal string with the digits of its currency; times are RFC 3339 in UTC.
- **Errors** are problem details (RFC 9457) with a stable `code`.
- **Idempotency**: with an `Idempotency-Key`, a repeated POST returns the first response for a day.
- **Lists**: follow `meta.next_cursor`, or use `page` and `per_page`.
"""
EXAMPLES = Path(__file__).parent / "examples.json"
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
    "Carts": "Carts of guests (by token) and of customers (by login)",
    "Checkout": "From a cart to a paid order",
    "Orders": "Orders, their status, fulfilments and returns",
    "Payments": "Payment methods, payments, refunds and events of gateways",
    "Customers": "Accounts and addresses",
    "Auth": "Registration, login, tokens and sessions",
    "Inventory": "Stock by location, reservations and movements",
    "Media": "Uploads of images and files",
    "Webhooks": "Subscriptions to events, and their deliveries",
    "Operations": "Health, metrics and the state of the fleet",
}


# For a function with two paths.
_ALIASES = {("GET", "/api/v1/carts"): "get_current_cart"}


def config() -> OpenAPIConfig:
    """The framework's configuration of the document."""
    return OpenAPIConfig(
        title="R Commerce API",
        version=__version__,
        description=DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        tags=[Tag(name=name, description=text) for name, text in TAGS.items()],
        enabled_endpoints=set(),
    )


def _operation_id(handler: HTTPRouteHandler, method: Method, path: list[Any]) -> str:
    """The handler's name; if it takes PUT beside PATCH, PUT has a name of its own."""
    at = "/" + "/".join(each if isinstance(each, str) else f"{{{each.name}}}" for each in path)
    name = _ALIASES.get((method, at), handler.handler_name)
    if method == "PUT" and len(handler.http_methods) > 1:
        name = name.replace("update_", "put_", 1)
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


@get("/openapi.json", include_in_schema=False)
async def openapi(request: Request[None, None, State]) -> ASGIResponse:
    """The document."""
    app: Litestar = request.app
    if "openapi" not in app.state:
        app.state.openapi = document(app)
    named = request.headers.get("if-none-match")
    return unchanging(app.state.openapi, "application/json", named)


def document(app: Litestar) -> bytes:
    """The document as JSON."""
    schema: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(app.openapi_schema.to_schema())
    )
    schema["servers"] = [{"url": "/", "description": "This server"}]
    schema["paths"] = tidy.paths(schema["paths"])
    schema["components"]["securitySchemes"] = security.SCHEMES
    own = {
        _operation_id(handler, method, route.path_components): handler.opt.get("problems", "")
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
    }
    examples = msgspec.json.decode(EXAMPLES.read_bytes())
    shared: dict[str, dict[str, Any]] = {}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            tidy.operation(operation)
            operation["security"] = security.of_operation(method, path)
            name = operation["operationId"]
            _problems(method, operation, own[name], shared)
            if method not in ("get", "head"):
                _token(operation)
            elif path.startswith("/api/") and (
                {} in operation["security"]  # cached, with an ETag
                or any(each["name"] == "If-None-Match" for each in operation.get("parameters", []))
            ):
                operation["responses"]["304"] = {"description": "Not modified: If-None-Match fits"}
            if name in examples:
                _show(operation, examples[name])
    tidy.schemas(schema["components"]["schemas"])
    tidy.defaults(schema["components"]["schemas"])
    tidy.schemas(schema["paths"])
    schema["components"]["schemas"]["Problem"] = PROBLEM
    schema["components"]["responses"] = shared
    return msgspec.json.encode(schema)


def _problems(
    method: str, operation: dict[str, Any], own: str, shared: dict[str, dict[str, Any]]
) -> None:
    """Every error is a Problem, with a code that this operation may return. `shared` collects
    responses that several operations have."""
    answers = operation["responses"]
    for status in [status for status in answers if int(status) >= 400]:
        del answers[status]
    for status, listed in codes.of_operation(method, operation, own).items():
        members = {"status": {"const": status}, "code": {"enum": listed}}
        schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": members}]}
        made = {
            "description": codes.described(status, listed),
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        name = codes.title(status)
        if shared.setdefault(name, made) != made:
            first = f"{name}Of{_capitalised(operation['operationId'])}"
            name = next((each for each, other in shared.items() if other == made), first)
            shared[name] = made
        answers[str(status)] = {"$ref": f"#/components/responses/{name}"}


def _capitalised(name: str) -> str:
    return name[0].upper() + name[1:]


def _token(operation: dict[str, Any]) -> None:
    """Writes return a consistency token."""
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            answer.setdefault("headers", {})[HEADER] = {
                "schema": {"type": "string"},
                "description": "Sent with a read, it makes that read see this write",
            }


def _show(operation: dict[str, Any], example: dict[str, Any]) -> None:
    """Adds the recorded request and response."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        media["example"] = example["request"]
    for media in operation["responses"][str(example["status"])].get("content", {}).values():
        media["example"] = example["answer"]
