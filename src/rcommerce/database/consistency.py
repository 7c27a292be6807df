"""Consistency tokens: a client sends the token of its last write, and reads what it wrote.

A token has the position of the write's commit in its shard's write-ahead log. It is taken after the
commit has returned, so it is never too low; it is signed, so nobody can forge one that sends every
read to the primary.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b, sha256
from struct import Struct, error
from typing import NamedTuple
from uuid import UUID

from rcommerce.database.assignment import ShardAssignment

HEADER = "X-Consistency-Token"
COOKIE = "consistency_token"
COOKIE_AGE_S = 300  # bytes; a replica further behind is out of rotation anyway
_FORMAT = Struct(">BIQ")  # version, epoch, position; followed by the shard's name
_VERSION = 1
_MAC_BYTES = 16


class Token(NamedTuple):
    """The content of a token: `position` is in bytes of write-ahead log, 0 if it was not
    measured."""

    shard: str
    epoch: int
    position: int


class Tokens:
    """Creates and reads tokens, for all instances with the same `secret`."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"consistency token", sha256)

    def make(self, assignment: ShardAssignment, position: int) -> str:
        """The token of a tenant's write."""
        body = _FORMAT.pack(_VERSION, assignment.epoch, position) + assignment.shard.encode()
        return urlsafe_b64encode(body + self._mac(assignment.tenant_id, body)).rstrip(b"=").decode()

    def read(self, tenant_id: UUID, token: str) -> Token | None:
        """The content of a token of this tenant; None for one that was not created here."""
        try:
            raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
            body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
            if not hmac.compare_digest(mac, self._mac(tenant_id, body)):
                return None
            version, epoch, position = _FORMAT.unpack_from(body)
        except (ValueError, error):
            return None
        if version != _VERSION:
            return None
        return Token(body[_FORMAT.size :].decode(), epoch, position)

    def _mac(self, tenant_id: UUID, body: bytes) -> bytes:
        # RFC 7693, a keyed hash: a fifth of an HMAC's cost, and each write makes one.
        return blake2b(tenant_id.bytes + body, digest_size=_MAC_BYTES, key=self._key).digest()
