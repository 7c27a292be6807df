"""CORS: what pages of other sites may do (the Fetch standard, section 3.3).

The framework adds the headers to its responses; `CrossOrigin` to those sent before it.
"""

from litestar.config.cors import CORSConfig
from litestar.types import HTTPScope

from rcommerce.database.consistency import HEADER
from rcommerce.http.representation import Headers
from rcommerce.settings import Settings

EXPOSED = ["ETag", "Location", "X-Request-ID", "Retry-After", HEADER]


def cors_config(settings: Settings) -> CORSConfig | None:
    """The settings, for the framework."""
    cors = settings.server.cors
    if not cors.enabled:
        return None
    return CORSConfig(
        allow_origins=cors.allowed_origins,
        allow_methods=cors.allowed_methods,  # type: ignore[arg-type] # words of HTTP
        allow_headers=cors.allowed_headers,
        allow_credentials=cors.allow_credentials,
        expose_headers=EXPOSED,
        max_age=cors.max_age,
    )


class CrossOrigin:
    """The headers for an origin. `everybody`: for all origins, if all are allowed; `varies`: they
    depend on the origin."""

    __slots__ = ("_config", "_some", "everybody", "varies")

    def __init__(self, settings: Settings) -> None:
        config = self._config = cors_config(settings)
        reported = [] if config is None else _lower(config.simple_headers)
        is_for_all = config is not None and config.is_allow_all_origins
        self.everybody = reported if is_for_all else Headers()
        self.varies = config is not None and not is_for_all
        self._some = reported

    def headers_for(self, origin: bytes | None) -> Headers:
        """The headers for this Origin."""
        if origin is None or self._config is None or not self.varies:
            return self.everybody
        if not self._config.is_origin_allowed(origin.decode("latin-1")):
            return self.everybody
        return [*self._some, (b"access-control-allow-origin", origin)]

    def told_to(self, scope: HTTPScope) -> Headers:
        """The headers for a request's Origin, if it has one: those of a cached response are added
        per client."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        return Headers() if origin is None else self.headers_for(origin)


def _lower(headers: dict[str, str]) -> Headers:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
