"""Instances fail, restart, or differ from the others."""

import time
import uuid
from pathlib import Path

import httpx

from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, NotHere, Outcome
from rcommerce.drills.stage import Stage
from rcommerce.drills.waiting import until
from rcommerce.errors import StartError

DOWN_S = 4.0
TOLD_S = 10.0
TRIES, BETWEEN_S = 10, 0.5
DAYS = {1: 2, 3: -2}  # by how many days the clocks of these instances are wrong
DRIFTED = ("RCOMMERCE_CHECKOUT__RESERVATION_TTL_SECS", "checkout.reservation_ttl_secs")


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


def clock_skew(stage: Stage) -> Outcome:
    """The clocks of two instances are wrong by days, in both directions."""
    for number, days in DAYS.items():
        stage.restart(number, _wrong_clock(days))
    try:
        seen = [each.clock_behind_s for each in stage.view().instances if each.kind == "server"]
        refused: list[str] = []

        def log_in() -> None:
            refused.extend(_refused_logins(stage))

        found = course(stage, log_in, lambda: None)
    finally:
        for number in DAYS:
            stage.restart(number, {"LD_PRELOAD": ""})
    wrong = sorted(round(each / 86_400) for each in seen)
    return found.outcome(
        "clock-skew",
        "instances whose clocks are wrong by days serve as the others do",
        [
            found.no_read_failed(),
            Check(
                "whoever logs in at one instance is known at each",
                not refused,
                "; ".join(refused[:3]),
            ),
            Check("it is seen whose clocks they are", wrong == [-2, 0, 2], f"{wrong} days"),
        ],
    )


def _wrong_clock(days: int) -> dict[str, str]:
    """The environment of a process whose time of day is another. Raises NotHere."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        raise NotHere("clock-skew needs libfaketime: apt-get install faketime")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{days:+d}d",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _refused_logins(stage: Stage) -> list[str]:
    """Logs in at each instance, by token and by cookie, and uses the login on each."""
    email, password = f"drill-{uuid.uuid4()}@example.com", "correct horse battery staple"
    register = {"email": email, "password": password, "first_name": "Ada", "last_name": "Lovelace"}
    _sent(f"{stage.fleet.url}/api/v1/auth/register", register)
    found = []
    login = {"email": email, "password": password}
    for at in stage.instances:
        made = _sent(f"{at.url}/api/v1/auth/login", login)
        token = {"Authorization": f"Bearer {made.json()['access_token']}"}
        cookie = {"Cookie": f"session={made.cookies['session']}"}
        for to in stage.instances:
            for headers in (token, cookie):
                answer = httpx.get(f"{to.url}/api/v1/customers/me", headers=headers, timeout=30)
                if answer.status_code != 200:
                    found.append(f"from {at.port} to {to.port}: {answer.text[:200]}")
    return found


def _sent(url: str, body: dict[str, str]) -> httpx.Response:
    """Like a client: repeats a request that gets 503. Raises StartError for another error."""
    for _ in range(TRIES):
        answer = httpx.post(url, json=body, timeout=30)
        if answer.status_code != 503:
            break
        time.sleep(BETWEEN_S)
    if not answer.is_success:
        raise StartError(f"{url}: {answer.status_code} {answer.text[:500]}")
    return answer


def config_drift(stage: Stage) -> Outcome:
    """An instance is started with another setting than the others have."""
    name, key = DRIFTED
    seen: list[bool] = []

    def drift() -> None:
        stage.restart(3, {name: "1234"})
        port = stage.instances[2].port
        seen.append(until(lambda: _drift(stage) == {port: [key]}, TOLD_S))

    def mend() -> None:
        stage.restart(3, {name: "900"})
        seen.append(until(lambda: not _drift(stage), TOLD_S))

    found = course(stage, drift, mend)
    return found.outcome(
        "config-drift",
        "an instance with another configuration is seen, and which setting it is",
        [
            found.no_read_failed(),
            Check(f"it is named within {TOLD_S:g} s", seen[:1] == [True], f"{_drift(stage)}"),
            Check("and no more once it is mended", seen[1:] == [True]),
        ],
    )


def _drift(stage: Stage) -> dict[int, list[str]]:
    """The settings in which instances differ, by their ports."""
    return {
        int(each.name.rpartition(":")[2]): each.drift
        for each in stage.view().instances
        if each.kind == "server" and each.drift
    }
