"""The priority of a request, from its path: what is shed first under load."""

import random

from litestar.types import HTTPScope, Send

from rcommerce import ids
from rcommerce.errors import Unavailable
from rcommerce.http import problems
from rcommerce.http.representation import Headers
from rcommerce.resilience.shedding import Priority

API = "/api/v1/"
UPLOADS = f"{API}media"
CODE = "overloaded"
# seconds of Retry-After, spread so that clients do not return at the same time
RETRY_AFTER_S = (1, 2, 3)
# By the first word of the path: of reads, and of writes.
_PRIORITIES = {
    "checkout": (Priority.CHECKOUT, Priority.CHECKOUT),
    "payments": (Priority.CHECKOUT, Priority.CHECKOUT),
    "orders": (Priority.CART, Priority.CHECKOUT),
    "carts": (Priority.CART, Priority.CART),
    "auth": (Priority.CART, Priority.CART),
    "customers": (Priority.CART, Priority.CART),
    "products": (Priority.CATALOGUE, Priority.ADMIN),
    "collections": (Priority.CATALOGUE, Priority.ADMIN),
    "categories": (Priority.CATALOGUE, Priority.ADMIN),
    # Includes gateways' events: they send each again until it is accepted.
    "webhooks": (Priority.ADMIN, Priority.CART),
}
_OTHERS = (Priority.ADMIN, Priority.ADMIN)
_REFUSALS = [
    problems.encoded(
        Unavailable(f"server overloaded, retry in {seconds} s", code=CODE, retry_after_s=seconds),
        "",
    )
    for seconds in RETRY_AFTER_S
]
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_transfer(scope: HTTPScope) -> bool:
    """Whether it transfers a file: it takes as long as the client does, and little of the event
    loop."""
    path = scope["path"]
    return path.startswith("/media/") or (scope["method"] == "POST" and path.rstrip("/") == UPLOADS)


def priority(scope: HTTPScope) -> Priority | None:
    """A request's priority; None if it is never shed: health, metrics, files."""
    path = scope["path"]
    if not path.startswith(API) or is_transfer(scope):
        return None
    is_read = scope["method"] in _READS
    found = _PRIORITIES.get(path[len(API) :].partition("/")[0], _OTHERS)[not is_read]
    if found is Priority.CATALOGUE and b"q=" in scope["query_string"]:
        return Priority.SEARCH
    return found


async def refuse(send: Send, more: Headers) -> None:
    """Sends a 503 at the least cost: everything is prepared."""
    body, headers = random.choice(_REFUSALS)  # noqa: S311 - spreads the load
    named = [*headers, (b"x-request-id", ids.new_name()), *more]
    await send({"type": "http.response.start", "status": 503, "headers": named})
    await send({"type": "http.response.body", "body": body, "more_body": False})
