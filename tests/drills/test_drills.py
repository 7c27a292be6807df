"""The drills hold what they promise, and fail where what protects it is taken away."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcommerce.drills import course
from rcommerce.drills.registry import DRILLS, run
from rcommerce.drills.stage import Stage, stage
from rcommerce.errors import StartError
from rcommerce.lab.nginx import Nginx
from rcommerce.lab.pgbouncer import program as pgbouncer

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Stage]:
    """A fleet that the drills of this file break one after the other."""
    try:
        pgbouncer()
    except StartError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch, stage(lambda _: None) as made:
        patch.setattr(course, "BEFORE_S", 2.0)
        patch.setattr(course, "AFTER_S", 2.5)
        yield made


@pytest.fixture
def no_second_try(fleet: Stage) -> Iterator[None]:
    """nginx asks no other instance where one dies."""
    nginx = fleet.fleet.members["nginx"].part
    assert isinstance(nginx, Nginx)
    file = nginx.folder / "rcommerce.conf"
    before = file.read_text()
    without = before.replace("proxy_next_upstream error timeout;", "proxy_next_upstream off;")
    assert without != before
    file.write_text(without)
    nginx.process.send(signal.SIGHUP)
    yield
    file.write_text(before)
    nginx.process.send(signal.SIGHUP)


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_holds(fleet: Stage, name: str) -> None:
    outcome = run(name, fleet)
    assert outcome.passed, outcome


@pytest.mark.usefixtures("no_second_try")
@pytest.mark.parametrize("name", ["kill-instance"])
def test_without_what_protects_it_a_drill_fails(fleet: Stage, name: str) -> None:
    outcome = run(name, fleet)
    assert not outcome.passed
    assert outcome.during is not None
    assert outcome.during.failed > 0
    assert outcome.lost == outcome.duplicated == 0  # the Idempotency-Key is another protection


def test_what_is_no_drill_is_told(tmp_path: Path) -> None:
    for arguments in (["run"], ["run", "nothing"], ["run", "oversell", "--all"]):
        told = subprocess.run(
            [sys.executable, "-m", "rcommerce", "drill", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 2
        assert "drill" in told.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "rcommerce", "drill", "list", "--json"],
        capture_output=True,
        check=True,
    )
    assert {each["name"] for each in json.loads(listed.stdout)["drills"]} == set(DRILLS)
