"""Instances of R Commerce that come and go."""

import time

from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.stage import Stage

DOWN_S = 4.0


def rolling_restart(stage: Stage) -> Outcome:
    """Each instance is restarted in turn."""
    codes: list[int] = []

    def restart() -> None:
        for each in stage.instances:
            codes.append(each.stop())
            each.start()
            time.sleep(1.0)

    found = course(stage, restart, lambda: None)
    again = sum(each.status != 201 for each in found.ledger.attempts)
    return found.outcome(
        "rolling-restart",
        "a rolling restart fails no request",
        [
            found.no_read_failed(),
            Check("no order has to be sent again", again == 0, f"{again} were"),
            Check("each instance ends in order", not any(codes), f"exit codes {codes}"),
        ],
    )


def kill_instance(stage: Stage) -> Outcome:
    """kill -9 of one of three."""

    def kill() -> None:
        stage.fleet.kill_part("shop-2")
        time.sleep(DOWN_S)

    found = course(stage, kill, lambda: stage.fleet.start_part("shop-2"))
    return found.outcome(
        "kill-instance",
        "kill -9 of an instance fails no read, and loses or doubles no order",
        [found.no_read_failed()],
    )
