"""The OpenAPI document (https://spec.openapis.org/oas/v3.1.0)."""

from typing import Any

import msgspec
from litestar import Litestar, Request, get
from litestar.datastructures import State
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme, Tag
from litestar.response.base import ASGIResponse

from rcommerce import __version__
from rcommerce.database.consistency import HEADER
from rcommerce.http.pages import unchanging
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
_ADDRESS = {
    "first_name": "Ada",
    "last_name": "Lovelace",
    "address1": "12 St James's Square",
    "city": "London",
    "zip": "SW1Y 4JH",
    "country": "GB",
}
_CART = "01a20aef-66b0-7298-b5d0-131e572376ac"
_PRODUCT = "57d98c95-0762-5a30-a070-3b2dd102a4c3"
_VARIANT = "1feee8dc-8d76-5be0-a681-61485c223bcc"
_ORDER = "01a20aef-66ef-7062-8212-054a109a8d29"
# A body to begin with, for each that a reader of the page would want to try.
EXAMPLES: dict[str, dict[str, Any]] = {
    "Registration": {
        "email": "ada@example.com",
        "password": "correct horse battery",
        "first_name": "Ada",
        "last_name": "Lovelace",
    },
    "Login": {"email": "ada@example.com", "password": "correct horse battery"},
    "Address": _ADDRESS,
    "OrderLine": {"product_id": _PRODUCT, "variant_id": _VARIANT, "quantity": 1},
    "Initiation": {"cart_id": _CART, "shipping_address": _ADDRESS},
    "ShippingChoice": {"cart_id": _CART, "service_code": "express"},
    "Completion": {
        "cart_id": _CART,
        "shipping_address": _ADDRESS,
        "payment_method": {"type": "card", "gateway_id": "test", "token": "tok_approve"},
        "customer_email": "ada@example.com",
    },
    "NewOrder": {
        "items": [{"product_id": _PRODUCT, "variant_id": _VARIANT, "quantity": 1}],
        "shipping_address": _ADDRESS,
        "customer_email": "ada@example.com",
    },
    "NewPayment": {
        "order_id": _ORDER,
        "amount": "45.00",
        "currency": "USD",
        "gateway_id": "test",
        "payment_method_data": {"token": "tok_approve"},
    },
    "MethodsQuery": {"currency": "USD", "amount": "45.00"},
    "NewProduct": {
        "title": "Linen Shirt",
        "status": "active",
        "tags": ["men", "linen"],
        "options": [{"name": "Size", "values": ["S", "M"]}],
        "variants": [
            {"price": "30.00", "option_values": {"Size": "S"}, "inventory_quantity": 5},
            {"price": "30.00", "option_values": {"Size": "M"}, "inventory_quantity": 8},
        ],
        "images": [{"src": "https://example.com/shirt.jpg", "alt_text": "from the front"}],
    },
    "ProductChange": {"title": "Linen Shirt, washed", "status": "active"},
    "NewVariant": {"price": "30.00", "option_values": {"Size": "L"}, "inventory_quantity": 3},
    "NewCollection": {"title": "Summer", "product_ids": [_PRODUCT]},
    "NewCategory": {"name": "Shirts"},
    "Adjustment": {"variant_id": _VARIANT, "quantity": -1, "reason": "broken"},
    "Receipt": {"variant_id": _VARIANT, "quantity": 20, "reason": "delivery 4711"},
    "RefundRequest": {"amount": "5.00", "reason": "scratched"},
    "Fulfilment": {"tracking_number": "1Z999", "carrier": "UPS"},
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
    "Media": "Uploads, and where to send them",
    "Webhooks": "Who hears of what happens, and what was sent",
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
    named = request.headers.get("if-none-match")
    return unchanging(app.state.openapi, "application/json", named)


def document(app: Litestar) -> bytes:
    """The document as JSON."""
    schema: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(app.openapi_schema.to_schema())
    )
    # The framework's order differs from process to process: one document has one ETag.
    schema["paths"] = dict(sorted(schema["paths"].items()))
    schemas = schema["components"]["schemas"]
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    schemas["Problem"] = PROBLEM
    for path in schema["paths"].values():
        for method, operation in path.items():
            _problems(operation)
            if method not in ("get", "head"):
                _token(operation)
    _decimals_are_text(schema)
    return msgspec.json.encode(schema)


def _problems(operation: dict[str, Any]) -> None:
    """Every error is a Problem, whatever the framework thinks of its own."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answers = operation["responses"]
    for status in [status for status in answers if int(status) >= 400]:
        del answers[status]
    answers["default"] = {"description": "A problem (RFC 9457)", "content": content}


def _token(operation: dict[str, Any]) -> None:
    """A write answers with a consistency token."""
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            answer.setdefault("headers", {})[HEADER] = {
                "schema": {"type": "string"},
                "description": "Sent along with a read, it shows what was written here",
            }


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
