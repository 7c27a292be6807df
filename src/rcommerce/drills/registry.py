"""Every drill by its name."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rcommerce.drills import instances, selling
from rcommerce.drills.outcome import Outcome
from rcommerce.drills.stage import Stage


@dataclass(frozen=True, slots=True)
class Drill:
    """What it breaks, and what is promised nevertheless."""

    about: str
    run: Callable[[Stage], Outcome]


DRILLS = {
    "oversell": Drill("1,000 buyers of 100 units: 100 are sold", selling.oversell),
    "rolling-restart": Drill("each instance in turn: no request fails", instances.rolling_restart),
    "kill-instance": Drill("kill -9: no read fails, no order is lost", instances.kill_instance),
}


def run(name: str, stage: Stage) -> Outcome:
    """Runs one, and leaves the stage well again. Raises StartError."""
    begun = time.monotonic()
    outcome = DRILLS[name].run(stage)
    outcome.seconds = round(time.monotonic() - begun, 1)
    stage.heal()
    return outcome
