"""The replicas that are read from: those that are up, follow the present primary, and do not lag
too far."""

import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from rcommerce.database.server import Server

HISTORY = 600  # samples of the primary's position: five minutes


class Rotation:
    """Updated by the servers' own probes."""

    def __init__(self, primary: Server, replicas: Sequence[Server], most_lag_s: float) -> None:
        self._primary = primary
        self._replicas = replicas
        self._most_lag_s = most_lag_s
        self._history: deque[tuple[float, int]] = deque(maxlen=HISTORY)
        self._lags_s: dict[Server, float] = {}
        self._seen: dict[Server, int] = {}  # each replica's position at the primary's last probe
        # Replicas that have not been seen to follow the present primary, and the position to pass:
        # after a failover, one may have data that the new primary never had.
        self._unproven: dict[Server, int] = {}
        self._primary_identity = ""
        if replicas:
            primary.probed = self._sample
        for replica in replicas:
            replica.probed = partial(self._measure, replica)

    def has(self, replica: Server) -> bool:
        """Whether reads go to it."""
        return (
            replica.is_up
            and replica not in self._unproven
            and (replica.is_replica or replica.identity == self._primary_identity)
            and self.lag_s(replica) <= self._most_lag_s
            and (not replica.rests_until or time.monotonic() > replica.rests_until)
        )

    def state(self, replica: Server) -> str:
        """`up`, `down`, `erring`, `lagging`, or `unproven`: not seen to follow this primary."""
        if self.has(replica) or not replica.is_up:
            return replica.state
        if replica.rests_until > time.monotonic():
            return "erring"
        return "lagging" if self.lag_s(replica) > self._most_lag_s else "unproven"

    def lag_bytes(self, replica: Server) -> int:
        """Bytes of the primary's write-ahead log that the replica has not replayed."""
        return max(0, self._primary.position - replica.position)

    def lag_s(self, replica: Server) -> float:
        """Seconds since the primary has been ahead of the replica, as of the last probe.

        By the primary's positions as seen here: clocks of two servers are not compared, and an idle
        primary causes no lag.
        """
        return self._lags_s.get(replica, 0.0)

    def _sample(self) -> None:
        """Records the primary's position."""
        primary = self._primary
        is_another = self._primary_identity not in ("", primary.identity)
        self._primary_identity = primary.identity
        if is_another:
            self._history.clear()
        self._history.append((time.monotonic(), primary.position))
        for replica in self._replicas:
            # Compared with the position of one probe ago, which is certainly older than the
            # primary's answer.
            if is_another or self._seen.get(replica, 0) > primary.position:
                self._unproven[replica] = max(primary.position, replica.position)
            self._seen[replica] = replica.position
            self._measure(replica)

    def _measure(self, replica: Server) -> None:
        if replica.position > self._unproven.get(replica, replica.position):
            del self._unproven[replica]
        behind, now = 0.0, time.monotonic()
        for at, position in reversed(self._history):
            if position <= replica.position:
                break
            behind = now - at
        self._lags_s[replica] = behind
