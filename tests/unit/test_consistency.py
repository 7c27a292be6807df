"""Consistency tokens: what goes in comes out, and nothing else is taken for one."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from rcommerce.database import ShardAssignment
from rcommerce.database.consistency import Token, Tokens

SHARDS = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)
EPOCHS = st.integers(1, 2**32 - 1)
POSITIONS = st.integers(0, 2**63)


@given(st.uuids(), SHARDS, EPOCHS, POSITIONS)
def test_a_token_reads_back(tenant: UUID, shard: str, epoch: int, position: int) -> None:
    tokens = Tokens("a secret")
    text = tokens.make(ShardAssignment(tenant, shard, epoch), position)
    assert tokens.read(tenant, text) == Token(shard, epoch, position)
    assert Tokens("a secret").read(tenant, text) is not None  # on another instance, too
    assert Tokens("another secret").read(tenant, text) is None
    assert tokens.read(UUID(int=tenant.int ^ 1), text) is None


@given(st.uuids(), SHARDS, EPOCHS, POSITIONS, st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_token_is_none(
    tenant: UUID, shard: str, epoch: int, position: int, at: int, change: int
) -> None:
    from base64 import urlsafe_b64decode, urlsafe_b64encode

    tokens = Tokens("a secret")
    text = tokens.make(ShardAssignment(tenant, shard, epoch), position)
    raw = bytearray(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[at % len(raw)] ^= change
    assert tokens.read(tenant, urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()) is None


@given(st.uuids(), st.text())
def test_any_text_is_read_without_a_fault(tenant: UUID, text: str) -> None:
    assert Tokens("a secret").read(tenant, text) is None
