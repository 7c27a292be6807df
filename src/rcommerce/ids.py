"""Identifiers: time-ordered UUIDs, secret tokens and the numbers that people read out."""

import hashlib
import os
import secrets
from datetime import date
from itertools import count
from uuid import UUID

import uuid_utils.compat as uuid_utils

# Crockford's base 32 (https://www.crockford.com/base32.html): no I, L, O or U to misread.
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562 section 5.7): sorts by its time, so that indexes grow at one end."""
    return uuid_utils.uuid7()


class _Names:
    """56 random bits of the process, and a number."""

    def __init__(self) -> None:
        self.begin()
        os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        """Others' names from now on: a process that was forked has its own."""
        self.prefix = secrets.token_hex(7).encode()
        self.numbers = count(secrets.randbits(32))


_NAMES = _Names()


def new_name() -> bytes:
    """24 hexadecimal digits, for what only needs a name that no other has: a tenth of the time of
    an id. No secret."""
    return b"%b%010x" % (_NAMES.prefix, next(_NAMES.numbers))


def secret_token(size_bytes: int = 32) -> str:
    """A URL-safe secret with `size_bytes` of randomness."""
    return secrets.token_urlsafe(size_bytes)


def token_hash(token: str) -> bytes:
    """What is stored of a secret token: its SHA-256. Enough, as the token itself is random."""
    return hashlib.sha256(token.encode()).digest()


def order_number(day: date) -> str:
    """A number for people: the day and 40 random bits, such as `261123-7K3M9QXA`.

    No counter: a counter row would put all orders of a shop in one queue.
    """
    random = "".join(secrets.choice(_CROCKFORD) for _ in range(8))
    return f"{day:%y%m%d}-{random}"


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form, with hyphens."""
    if len(text) != 36 or text[8] != "-":
        return False
    try:
        UUID(text)
    except ValueError:
        return False
    return True
