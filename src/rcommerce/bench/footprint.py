"""startup and memory: the cost of an idle worker."""

import time

from rcommerce.bench import report
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench
from rcommerce.bench.usage import resident_mb

STARTUP_BAR_S = 2.0
MEMORY_BAR_MB = 110.0
ROUNDS = 5
SETTLE_S = 2.0


def startup(bench: Bench) -> Result:
    """From the command to its first 200, on one processor; PostgreSQL is running."""
    times = []
    for number in range(1, ROUNDS + 1):
        bench.tell(f"round {number} of {ROUNDS}")
        with bench.server() as server:
            times.append(server.start_s)
    return report.at_most("startup", "s", STARTUP_BAR_S, times, {"workers": 1})


def memory(bench: Bench) -> Result:
    """The resident memory of one idle worker that has answered one request."""
    sizes = []
    for number in range(1, ROUNDS + 1):
        bench.tell(f"round {number} of {ROUNDS}")
        with bench.server() as server:
            time.sleep(SETTLE_S)
            sizes.append(max(resident_mb(pid) for pid in server.workers()))
    return report.at_most("memory", "MB", MEMORY_BAR_MB, sizes, {"measured": "VmRSS"})
