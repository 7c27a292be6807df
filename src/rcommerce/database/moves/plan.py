"""The plan and the progress of a move."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from rcommerce.errors import RCommerceError


class MoveError(RCommerceError):
    """A move that cannot begin or continue; the tenant is where it was, and sells."""


@dataclass(slots=True)
class Move:
    """A move. `databases` maps each shard's name to its connection string, without a pooler;
    `replicas` are the target's."""

    tenant: UUID
    target: str
    databases: Mapping[str, str]
    control: str
    replicas: Sequence[str] = ()
    max_pause_s: float = 2.5
    drop_after_s: float = 20.0
    tell: Callable[["Progress"], None] = lambda _: None


@dataclass(slots=True)
class Progress:
    """Progress of a move. `pause_s` is how long writes had to wait."""

    phase: str
    source: str
    target: str
    tables: int = 0
    of_tables: int = 0
    rows: int = 0
    of_rows: int = 0
    bytes: int = 0
    lag_bytes: int = 0
    eta_s: float | None = None
    pause_s: float | None = None
    verified_rows: int = 0
    dropped_rows: int = 0
    attempts: int = 0
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
