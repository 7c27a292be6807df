"""Password hashes: Argon2id with the parameters of the OWASP Password Storage Cheat Sheet (19 MiB,
two passes), a few at a time, so that many simultaneous logins cannot exhaust the memory."""

import asyncio
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_TURN = asyncio.Semaphore(2)


async def hashed(password: str) -> str:
    """The hash to store. Takes some 20 ms of a thread."""
    async with _TURN:
        return await asyncio.to_thread(_HASHER.hash, password)


async def matches(password_hash: str | None, password: str) -> bool:
    """Whether the password matches the hash. Takes as long if there is no hash."""
    async with _TURN:
        return await asyncio.to_thread(_verify, password_hash, password)


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody's password")


def _verify(password_hash: str | None, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash or _nobodys(), password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False
