"""The credentials that an operation accepts."""

import re

SCHEMES = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The access token of a customer or of staff, from POST /auth/login",
    },
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "ak_…",
        "description": "An API key of a program, made by `rcommerce apikey create`; its scopes say"
        " what it may do",
    },
    "sessionCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "session",
        "description": "Set by POST /auth/login. A write also needs the Origin header of this site",
    },
    "cartToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Cart-Token",
        "description": "The `session_token` of a guest's cart",
    },
    "orderToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Order-Token",
        "description": "The `order_token` of a guest's order",
    },
}
_STAFF = ("apiKey", "accessToken", "sessionCookie")
_CUSTOMER = ("accessToken", "sessionCookie")
_CART = ("cartToken", *_CUSTOMER)
_ORDER = ("orderToken", *_CUSTOMER, "apiKey")
# The first match counts: "METHOD path". An empty name: no credentials needed.
_RULES: list[tuple[str, tuple[str, ...]]] = [
    (r"GET /products/\{\w+\}/prices", _STAFF),
    (r"GET /(products|collections|categories)\b", ("", *_STAFF)),
    (r"POST /auth/(register|login|refresh|password-reset)", ("",)),
    (r"POST /webhooks/\{gateway_id\}", ("",)),
    (r"GET /(health|metrics)", ("",)),
    (r"POST /payments/methods", ("",)),
    (r"POST /carts/guest", ("", *_CUSTOMER)),
    (r"POST /carts/merge", _CUSTOMER),
    (r"GET /gift-cards/\{\w+\}/balance", ("",)),
    (r"\w+ /(carts|checkout|coupons/validate)\b", _CART),
    (r"POST /orders$", ("", *_STAFF)),
    (r"GET /orders$", _STAFF),
    (r"GET /orders/", _ORDER),
    (r"POST /orders/\{order_id\}/cancel", _ORDER),
    (r"POST /payments$", _ORDER),
    (r"GET /payments/", _ORDER),
    (r"\w+ /(auth|customers/me)\b", _CUSTOMER),
    (r"GET /customers\b", _STAFF),
    (r"", _STAFF),
]


def of_operation(method: str, path: str) -> list[dict[str, list[str]]]:
    """The Security Requirement Objects, any one of which is enough."""
    asked = f"{method.upper()} {path.removeprefix('/api/v1')}"
    schemes = next(schemes for pattern, schemes in _RULES if re.match(pattern, asked))
    return [{scheme: []} if scheme else {} for scheme in schemes]
