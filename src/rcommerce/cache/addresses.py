"""The addresses in `cache.redis_url`."""

from urllib.parse import unquote, urlsplit

from rcommerce.errors import SettingsError

PORT = 6379


class Address:
    """The address and credentials of a URL."""

    __slots__ = ("database", "host", "is_tls", "password", "port", "socket", "username")

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            self.port = parts.port or PORT
            self.database = int(parts.path.strip("/") or 0) if parts.scheme != "unix" else 0
        except ValueError:
            raise SettingsError(
                'cache.redis_url: must be like "redis://user:password@host:6379/0"'
            ) from None
        self.is_tls = parts.scheme == "rediss"
        self.host = parts.hostname or "localhost"
        self.username = unquote(parts.username) if parts.username else None
        self.password = unquote(parts.password) if parts.password else None
        self.socket = parts.path if parts.scheme == "unix" else None

    def __str__(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


def addresses(redis_url: str) -> list[Address]:
    """The servers of `cache.redis_url`: one URL, or several with commas between, of which the later
    ones may leave out what they have in common with the first. Raises SettingsError."""
    first, *others = (part.strip() for part in redis_url.split(","))
    scheme, _, rest = first.partition("://")
    who = f"{rest.rpartition('@')[0]}@" if "@" in rest else ""
    urls = [first, *(each if "://" in each else f"{scheme}://{who}{each}" for each in others)]
    return [Address(url) for url in urls]
