"""Every problem code of the API, by its HTTP status, with its meaning.

A route lists its own codes (`problems="cart_closed cart_merged"`); those that follow from what a
route accepts, such as an Idempotency-Key, are added by `of_operation`. The tests' client fails if a
response has a code that its operation does not list.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

CODES: dict[int, dict[str, str]] = {
    400: {
        "validation_failed": "A field or parameter is malformed; `errors` names it",
        "bad_request": "The request is malformed",
    },
    401: {
        "unauthenticated": "Credentials are missing",
        "invalid_token": "The access token is not valid",
        "token_expired": "The access token has expired; refresh it",
        "token_revoked": "The access token was revoked",
        "invalid_api_key": "The API key is not known",
        "wrong_tenant": "The credentials belong to another shop",
        "invalid_credentials": "The e-mail address or the password is wrong",
        "invalid_refresh_token": "The refresh token is not valid, or was used before",
        "invalid_signature": "The event's signature is wrong or too old",
    },
    402: {"payment_failed": "The gateway declined the payment; the cart is unchanged"},
    403: {
        "forbidden": "The caller may not do this",
        "missing_scope": "The credentials lack the scope that `detail` names",
        "cross_site": "A write by session cookie came from another site",
        "address_blocked": "The client's address is blocked",
        "tenant_suspended": "The shop is suspended",
        "upload_expired": "The upload's address has expired",
    },
    404: {
        "not_found": "There is none, or none that the caller may see",
        "tenant_not_found": "No shop has this host name or X-Tenant-ID",
    },
    405: {"method_not_allowed": "The path has other methods; see Allow"},
    408: {"request_timeout": "The request did not arrive completely in time"},
    409: {
        "conflict": "The current state does not allow it",
        "in_progress": "A request with the same Idempotency-Key is in progress",
        "duplicate": "A unique value, which `errors` names, is already in use",
        "coupon_code_exists": "There is a coupon with this code",
        "email_taken": "An account with this e-mail address exists",
        "cart_closed": "The cart has become an order",
        "checkout_not_initiated": "Call POST /checkout/initiate first",
        "currency_mismatch": "The currencies differ",
        "price_changed": "Lines or totals differ from what the buyer saw last; has the new ones",
        "no_longer_sold": "A line's product is no longer sold; `lines` names it",
        "out_of_stock": "Too few units are left; `lines` names them",
        "stock_reserved": "More units are reserved than would remain",
        "invalid_transition": "The order's status does not allow this step",
        "order_cancelled": "The order is cancelled",
        "already_fulfilled": "Part of the order was shipped already",
        "not_paid": "The order or payment has not been paid",
        "not_manual": "Only a manual payment is confirmed by hand",
        "last_variant": "A product keeps at least one variant",
        "category_not_empty": "The category has subcategories",
        "in_use": "A product's image uses this upload",
        "too_many": "The shop has as many as it may have",
        "channel_in_use": "The channel has carts or price lists, or is the shop's default",
        "channel_mismatch": "The carts are in different channels",
        "group_in_use": "There are price lists for the group",
    },
    410: {"cart_merged": "The guest cart was merged into its customer's"},
    412: {"stale_version": "If-Match names an older version"},
    413: {"too_large": "The body is larger than the limit"},
    415: {"unsupported_media_type": "The Content-Type is not supported"},
    422: {
        "unprocessable": "The request is well formed and breaks a rule",
        "idempotency_key_reused": "The Idempotency-Key was used for another request",
        "amount_mismatch": "The amount is not the order's total",
        "cart_empty": "The cart is empty",
        "cart_full": "The cart has as many lines as it may have",
        "quantity_too_large": "A line has more units than it may have",
        "balance_too_low": "The balance is less than the amount",
        "gift_card_empty": "Nothing is left on the gift card or credit",
        "gift_card_not_found": "There is no such gift card, or it has expired",
        "no_credit": "The customer has no credit in this currency",
        "coupon_already_applied": "The cart has this coupon already",
        "coupon_cannot_combine": "The coupon cannot be combined with another promotion",
        "coupon_customer_limit": "The customer has used the coupon as often as they may",
        "coupon_customer_not_eligible": "The coupon is for other customers",
        "coupon_expired": "The coupon has expired",
        "coupon_inactive": "The coupon is not active",
        "coupon_limit": "A cart has no more coupons",
        "coupon_minimum_not_met": "The coupon's minimum is not reached",
        "coupon_new_customers_only": "The coupon is for customers without an order",
        "coupon_not_applicable": "The coupon is for another channel, country, currency or time",
        "coupon_not_found": "There is no such coupon",
        "coupon_not_started": "The coupon is not valid yet",
        "coupon_product_not_eligible": "The coupon applies to none of the items",
        "coupon_usage_limit": "The coupon has been used as often as it may be",
        "currency_mismatch": "The currencies differ",
        "not_in_channel": "The product is not sold in the cart's channel",
        "no_shipping": "No service ships to this country",
        "unknown_shipping_rate": "No such shipping service; `detail` lists those that exist",
        "total_too_large": "The order's total is too large",
        "refund_too_large": "More than what is left to refund",
        "nothing_to_refund": "Nothing was paid for this",
        "nothing_to_return": "Nothing is left to return",
        "too_many_units": "More units than are left",
        "unsupported_media": "The file is of no supported type, or is damaged",
        "image_too_large": "The image has too many pixels",
    },
    429: {
        "rate_limited": "Rate limit exceeded; see Retry-After",
        "too_many_at_once": "Too many concurrent requests from this address",
    },
    500: {"internal_error": "An internal error; the server's log has it under X-Request-ID"},
    503: {
        "unavailable": "Unavailable; see Retry-After",
        "overloaded": "The server is overloaded; see Retry-After",
        "stopping": "The instance is shutting down",
        "deadline_exceeded": "No answer within server.request_timeout_secs",
        "database_unavailable": "The database cannot be reached",
        "database_busy": "No database connection became free in time",
        "database_slow": "The database took too long",
        "write_conflict": "A concurrent write was in the way; try again",
        "shard_unknown": "The shop's shard is not in this instance's settings",
        "tenant_moving": "The shop is being moved to another shard",
        "sessions_unavailable": "The session store cannot be reached",
        "gateway_unavailable": "The payment gateway does not answer",
        "rates_unavailable": "The source of exchange rates does not answer",
        "media_unavailable": "The media store cannot be reached",
    },
}
# Of every operation below /api/v1.
_ALWAYS = """
    validation_failed unauthenticated invalid_token token_expired token_revoked invalid_api_key
    wrong_tenant address_blocked tenant_suspended tenant_not_found request_timeout rate_limited
    too_many_at_once internal_error unavailable overloaded stopping deadline_exceeded
    database_unavailable database_busy database_slow write_conflict shard_unknown
    sessions_unavailable
"""
_OF_WRITES = "cross_site tenant_moving too_large"


def of_operation(method: str, operation: dict[str, Any], own: str) -> dict[int, list[str]]:
    """The codes that an operation may return, by status: `own` are its route's."""
    takes = {parameter["name"] for parameter in operation.get("parameters", [])}
    codes = set(f"{_ALWAYS} {own}".split())
    if method != "get":
        codes |= set(_OF_WRITES.split())
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", [])):
        codes.add("not_found")
    if "If-Match" in takes:
        codes.add("stale_version")
    if "Idempotency-Key" in takes:
        codes |= {"in_progress", "idempotency_key_reused"}
    if "requestBody" in operation:
        codes.add("unsupported_media_type")
    if {"apiKey": []} in operation["security"]:
        codes.add("missing_scope")
    unknown = codes - {code for of_status in CODES.values() for code in of_status}
    if unknown:
        raise ValueError(f"{operation['operationId']}: {unknown} are not in CODES")
    found = {status: sorted(codes & of_status.keys()) for status, of_status in CODES.items()}
    return {status: listed for status, listed in found.items() if listed}


def title(status: int) -> str:
    """The name of a status in one word, such as NotFound."""
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def described(status: int, codes: Iterable[str]) -> str:
    """A list of codes with their meaning, in Markdown."""
    return "\n".join(f"- `{code}`: {CODES[status][code]}" for code in codes)
