"""Entity tags: a version, which detects lost updates, and a hash of the bytes."""

from hashlib import blake2b
from uuid import UUID

from rcommerce.errors import PreconditionFailed


def etag(version: str, body: bytes) -> str:
    """A strong entity tag (RFC 9110, section 8.8.3), such as "7.5f0c2ab1d6e34f90"."""
    return f'"{version}.{blake2b(body, digest_size=8).hexdigest()}"'


def check(if_match: str | None, version: int, what: UUID | str) -> None:
    """Raises PreconditionFailed if none of the tags in If-Match has this version.

    Only the version counts: a sale between reading and writing changes the stock in the body, which
    is no reason to reject a new description.
    """
    if if_match is None or if_match.strip() == "*":
        return
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(","))
    if str(version) not in {tag.partition(".")[0] for tag in tags}:
        raise PreconditionFailed(
            f"{what} has changed since: read it again, and send its ETag as If-Match"
        )
