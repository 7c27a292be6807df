"""The session cookie over HTTP, and its protection against other sites' pages (CSRF).

SameSite=Lax prevents most of them. Beyond that, a write is only accepted with a header that
browsers add and no script can set, an Origin or a Sec-Fetch-Site, that names this site (OWASP,
Cross-Site Request Forgery Prevention, "Fetch Metadata headers").
"""

from collections.abc import Mapping

from litestar.types import HTTPScope, Message, Send

from rcommerce.commerce.customers import logins
from rcommerce.commerce.customers.sessions import LONGEST_S, STAFF
from rcommerce.commerce.shop import Shop
from rcommerce.errors import Forbidden
from rcommerce.http.consistency import is_shared_read
from rcommerce.http.identity import SAFE, cookie, is_own_page
from rcommerce.settings import Settings

COOKIE = "session"
OF_STAFF = f"{COOKIE}={STAFF}".encode()


async def enter(shop: Shop, scope: HTTPScope, headers: Mapping[str, str]) -> None:
    """Makes the customer of the request's cookie its caller. Raises Forbidden for another site's
    request, Unavailable while sessions are unavailable.

    Public data is read without, since sessions may be unavailable. Staff see more there.
    """
    token = cookie(shop.services.settings, headers, COOKIE)
    if token is None:
        return
    shop.session_token = token
    options = scope["route_handler"].opt
    if options.get("no_session") or (is_shared_read(scope) and not token.startswith(STAFF)):
        return
    await logins.enter_by_session(shop, token)
    if shop.caller.proof is None or scope["method"] in SAFE:
        return
    if not is_own_page(shop.services.settings, headers):
        raise Forbidden(
            "a change that is made by a cookie needs the Origin header of a page of this site;"
            " other clients use Authorization",
            code="cross_site",
        )


def announcing(shop: Shop, send: Send) -> Send:
    """A `send` that sets the client's new cookie, or removes the old one."""
    settings = shop.services.settings

    async def announce(message: Message) -> None:
        token = shop.new_session_token
        if message["type"] == "http.response.start" and token is not None:
            age = LONGEST_S if token else 0  # the server decides when it expires
            attributes = f"Path=/; Max-Age={age}; HttpOnly; SameSite=Lax"
            if is_secure(settings):
                attributes += "; Secure"
            line = (b"set-cookie", f"{COOKIE}={token}; {attributes}".encode())
            message["headers"] = [*message["headers"], line]
        await send(message)

    return announce


def is_secure(settings: Settings) -> bool:
    """Whether cookies are for HTTPS only: as set, otherwise everywhere except in development."""
    chosen = settings.security.secure_cookies
    if chosen is None:
        return settings.tls.enabled or settings.database.db_type != "Embedded"
    return chosen
