"""The drills hold what they promise, and each fails where what protects it is taken away."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from commands import execute
from drills.unprotected import REMOVALS, Removal, copy
from rcommerce.drills.registry import DRILLS, run
from rcommerce.drills.stage import Stage, stage
from rcommerce.errors import StartError
from rcommerce.lab.nginx import Nginx
from rcommerce.lab.pgbouncer import program as pgbouncer
from rcommerce.lab.worker import Worker

# What is broken stays so for less time than an operator may want to see, and less is asked
# meanwhile: other tests run beside.
SHORT = {
    "drills.course.BEFORE_S": 1.0,
    "drills.course.AFTER_S": 1.5,
    "drills.course.READS": 40,
    "drills.caches.AWAY_S": 3.0,
    "drills.databases.AWAY_S": 3.5,
    "drills.files.AWAY_S": 3.5,
    "drills.instances.DOWN_S": 2.5,
    "drills.disk.FULL_S": 3.5,
    "drills.pressure.CALM_S": 2.0,
    "drills.pressure.OVERLOAD_S": 5.0,
    "drills.pressure.QUICK_S": 6.0,
    "drills.pressure.SHARE": 1 / 6,
    "drills.pressure.SLOW": 4_000,  # are open before nginx hangs up on the first
    "drills.selling.CROWD": 400,
    "drills.sales.WITHIN_S": 0.75,
}
QUICK = {"RCOMMERCE_SERVER__DRAIN_DELAY_SECS": "1", "RCOMMERCE_SERVER__REQUEST_TIMEOUT_SECS": "10"}
# What will never come need not be waited for so long.
IMPATIENT = {"jobs.DONE_S": 5.0, "payments.SETTLED_S": 5.0, "instances.TOLD_S": 4.0}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Stage]:
    """A fleet that the drills of this file break one after the other."""
    try:
        pgbouncer()
    except StartError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch, stage(lambda _: None, QUICK) as made:
        for name, value in SHORT.items():
            patch.setattr(f"rcommerce.{name}", value)
        for name in ("prometheus", "haproxy"):  # no drill asks them
            if name in made.fleet.members:
                made.fleet.members.pop(name).part.kill()
        yield made


@pytest.fixture(scope="module")
def unprotected(fleet: Stage, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The same, from now on without what protects it in the code."""
    folder = copy(tmp_path_factory.mktemp("unprotected"))
    restart(fleet, {"PYTHONPATH": str(folder)})
    return fleet


def restart(fleet: Stage, environment: dict[str, str]) -> None:
    """All instances and the worker at a time, with something else in their environment."""
    worker = fleet.fleet.members["worker"].part
    assert isinstance(worker, Worker)
    worker.stop()
    worker.configure(environment)
    worker.start()
    with ThreadPoolExecutor() as all_at_once:
        each = range(1, len(fleet.instances) + 1)
        list(all_at_once.map(lambda number: fleet.restart(number, environment), each))


NGINX = ("nginx.conf", "rcommerce.conf")  # its files


def configure(fleet: Stage, edits: Sequence[tuple[str, str]]) -> dict[Path, str]:
    """Edits the files of nginx, which takes them over; returns what was in them."""
    nginx = fleet.fleet.members["nginx"].part
    assert isinstance(nginx, Nginx)
    before = {nginx.folder / name: (nginx.folder / name).read_text() for name in NGINX}
    assert all(any(old in text for text in before.values()) for old, _ in edits)
    for path, text in before.items():
        path.write_text(replaced(text, edits))
    nginx.process.send(signal.SIGHUP)
    return before


def replaced(text: str, edits: Sequence[tuple[str, str]]) -> str:
    """A text with all of the edits."""
    for old, new in edits:
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def without(fleet: Stage, removal: Removal) -> Iterator[None]:
    """Takes away what is not in the code."""
    primary = fleet.postgres()
    with contextlib.ExitStack() as stack:
        if removal.nginx:
            before = configure(fleet, removal.nginx)
            stack.callback(configure, fleet, ())
            for path, text in before.items():
                stack.callback(path.write_text, text)
        if removal.primary:
            settings = {name: primary.query(f"show {name}")[0][0] for name in removal.primary}
            primary.configure(removal.primary)
            stack.callback(primary.configure, settings)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in {**IMPATIENT, **removal.constants}.items():
            patch.setattr(f"rcommerce.drills.{name}", value)
        yield


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_holds(fleet: Stage, name: str) -> None:
    outcome = run(name, fleet)
    if outcome.not_run:
        pytest.skip(outcome.not_run)
    broken = [f"{each.promise}: {each.found}" for each in outcome.checks if not each.held]
    assert outcome.passed, "\n".join([*broken, *map(str, (outcome.during, outcome.details))])


@pytest.mark.parametrize("name", DRILLS)
def test_without_what_protects_it_a_drill_fails(unprotected: Stage, name: str) -> None:
    removal = REMOVALS[name]
    with without(unprotected, removal):
        outcome = run(name, unprotected, heals=False)
    if outcome.not_run:
        pytest.skip(outcome.not_run)
    broken = [each.promise for each in outcome.checks if not each.held]
    assert any(each.startswith(removal.promise) for each in broken), (broken, outcome)
    with contextlib.suppress(StartError):  # it may be unwell for good
        unprotected.heal()


def test_what_is_no_drill_is_told(tmp_path: Path) -> None:
    for arguments in (["run"], ["run", "nothing"], ["run", "oversell", "--all"]):
        reported = execute(["drill", *arguments], tmp_path, os.environ)
        assert reported.returncode == 2
        assert "drill" in reported.stderr
    listed = execute(["drill", "list", "--json"], tmp_path, os.environ)
    assert {each["name"] for each in json.loads(listed.stdout)["drills"]} == set(DRILLS)
