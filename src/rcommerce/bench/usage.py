"""CPU time and memory of processes."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Iterable[int]) -> float:
    """The CPU seconds that these processes have used."""
    return sum(_used_s(pid) for pid in pids)


def _used_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has ended
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid: int) -> float:
    """Its resident memory, in millions of bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


class Meter:
    """The CPU use of some processes, from now on."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._before, self._begun = cpu_s(self._pids), time.monotonic()

    def used_s(self) -> float:
        """Seconds of a processor."""
        return cpu_s(self._pids) - self._before

    def share(self) -> float:
        """Of a processor, on average."""
        return self.used_s() / (time.monotonic() - self._begun)
