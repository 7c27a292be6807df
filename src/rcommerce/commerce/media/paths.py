"""Names of files in the store: made of a file's own hash, below its tenant.

<tenant>/<sha256>/original.<extension>           an upload
<tenant>/<sha256>/<size>-<sha256, 16>.<format>   a rendition of it
<tenant>/incoming/<upload>                       sent to the store, not looked at yet
"""

import re
from dataclasses import dataclass
from uuid import UUID

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAME = re.compile(
    rf"(?P<tenant>{_UUID})/(?P<hash>[0-9a-f]{{64}})/"
    r"(?:original|[a-z0-9_-]{1,40}-(?P<own>[0-9a-f]{16}))\.(?P<extension>[a-z0-9]{2,5})"
)
_INCOMING = re.compile(rf"(?P<tenant>{_UUID})/incoming/(?P<upload>{_UUID})")


@dataclass(frozen=True, slots=True)
class Name:
    """The parts of a file's name. `hash` is its upload's, in hexadecimal."""

    tenant: UUID
    hash: str
    extension: str
    etag: str


def parsed(key: str) -> Name | None:
    """The parts of a file's name; None if it is not one, or was not checked yet."""
    found = _NAME.fullmatch(key)
    if found is None:
        return None
    own = found["own"] or found["hash"][:32]
    return Name(UUID(found["tenant"]), found["hash"], found["extension"], f'"{own}"')


def tenant_of(key: str) -> UUID | None:
    """The file's tenant; None if it is no file of a shop."""
    found = _NAME.fullmatch(key) or _INCOMING.fullmatch(key)
    return UUID(found["tenant"]) if found else None


def incoming(tenant: UUID, upload: UUID) -> str:
    """The name to which a client uploads directly."""
    return f"{tenant}/incoming/{upload}"


def is_incoming(key: str) -> bool:
    """Whether a name is one for a direct upload."""
    return _INCOMING.fullmatch(key) is not None


def upload(tenant: UUID, digest: bytes, extension: str) -> str:
    """The name of a checked upload; `media_path` in the database returns the same."""
    return f"{tenant}/{digest.hex()}/original.{extension}"


def rendition(tenant: UUID, digest: str, size: str, own: str, extension: str) -> str:
    """The name of a rendition; `own` is its own hash."""
    return f"{tenant}/{digest}/{size}-{own[:16]}.{extension}"
