"""Identifiers: time-ordered UUIDs, secret tokens, and numbers for people."""

import hashlib
import hmac
import os
import secrets
from datetime import date
from itertools import count
from uuid import UUID

import uuid_utils.compat as uuid_utils

# Crockford's base 32 (www.crockford.com/base32.html): no I, L, O or U, which are misread.
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7): sorted by time, so that indexes grow at one end."""
    return uuid_utils.uuid7()


class _Names:
    """56 random bits of the process, and a counter."""

    def __init__(self) -> None:
        self.begin()
        os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        """Different names from now on: a forked process must not repeat its parent's."""
        self.prefix = secrets.token_hex(7).encode()
        self.numbers = count(secrets.randbits(32))


_NAMES = _Names()


def new_name() -> bytes:
    """24 hexadecimal digits, for what only needs a unique name: a tenth of an id's cost. Not a
    secret."""
    return b"%b%010x" % (_NAMES.prefix, next(_NAMES.numbers))


def secret_token(size_bytes: int = 32) -> str:
    """A URL-safe secret with `size_bytes` of randomness."""
    return secrets.token_urlsafe(size_bytes)


def token_hash(token: str) -> bytes:
    """The stored form of a secret token: its SHA-256. Enough, since the token itself is random."""
    return hashlib.sha256(token.encode()).digest()


def readable(length: int) -> str:
    """Random characters that people read out, 5 bits each."""
    return "".join(secrets.choice(_CROCKFORD) for _ in range(length))


def derived(secret: str, *parts: object) -> str:
    """16 readable characters that whoever has the secret can make again: 80 bits of an HMAC
    (RFC 2104)."""
    text = ":".join(map(str, parts))
    digest = hmac.digest(secret.encode(), text.encode(), "sha256")
    number = int.from_bytes(digest[:10])
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(0, 80, 5))


def order_number(day: date) -> str:
    """A number for people: the day and 40 random bits, such as `261123-7K3M9QXA`.

    Not a counter: a counter's row would serialize all orders of a shop.
    """
    return f"{day:%y%m%d}-{readable(8)}"


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form, with hyphens."""
    if len(text) != 36 or text[8] != "-":
        return False
    try:
        UUID(text)
    except ValueError:
        return False
    return True
