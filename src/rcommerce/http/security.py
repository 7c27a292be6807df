"""Headers that browsers act on (OWASP HTTP Headers Cheat Sheet)."""

from rcommerce.http.representation import Headers
from rcommerce.settings import Settings

# All pages are from this origin; Swagger UI has styles and small images inside the document.
PAGE = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


def headers(settings: Settings) -> Headers:
    """Those of every response."""
    found: Headers = [(b"x-content-type-options", b"nosniff")]
    hsts = settings.tls.hsts
    if settings.tls.enabled and hsts.enabled:
        found.append((b"strict-transport-security", f"max-age={hsts.max_age}".encode()))
    return found
