"""The lab, as its users run it: it comes up, is broken, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from commands import execute
from conftest import eventually
from rcommerce.lab import state
from rcommerce.lab.pgbouncer import program as pgbouncer
from rcommerce.lab.process import family

STATES = ["", "green", "yellow", "red"]


def ran(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `rcommerce …` beside a lab's folder."""
    return execute(arguments, folder.parent, environment())


def lab(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `rcommerce lab …`."""
    return ran(folder, "lab", *arguments, "--dir", str(folder))


def doctor(folder: Path) -> dict[str, str]:
    """The worst state by what was looked at."""
    done = ran(folder, "doctor", "--json", "--config", str(folder / "rcommerce.toml"))
    found: dict[str, str] = {}
    for each in json.loads(done.stdout)["findings"]:
        found[each["about"]] = max(found.get(each["about"], ""), each["state"], key=STATES.index)
    return found


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("RCOMMERCE_")}


def processes(found: dict[str, Any]) -> list[int]:
    """All that run of a lab."""
    pids = [part["pid"] for part in found["parts"] if part["pid"] is not None]
    return [pid for each in pids for pid in family(each)]


def are_gone(pids: list[int]) -> bool:
    return all(state.born(pid) is None for pid in pids)


@pytest.fixture
def place(own_folder: Path) -> Iterator[Path]:
    """Where a lab may be; whatever becomes of the test, it ends."""
    folder = own_folder / "lab"
    yield folder
    state.end(folder)


def begun(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A lab in the foreground."""
    return subprocess.Popen(
        [sys.executable, "-m", "rcommerce", "lab", "up", "--dir", str(folder), *arguments],
        cwd=folder.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_fleet_comes_up_is_broken_and_leaves_nothing(place: Path) -> None:
    try:
        pgbouncer()
    except Exception as error:  # noqa: BLE001
        pytest.skip(str(error))
    up = lab(place, "up", "--detach", "--products", "50", "--json")
    assert up.returncode == 0, up.stderr
    found = json.loads(up.stdout)
    parts = {part["name"]: part for part in found["parts"]}
    assert {part["state"] for part in parts.values()} == {"running"}
    assert {"primary", "replica-2", "shard-4", "valkey-6", "s3", "shop-3", "worker"} < set(parts)
    everything = processes(found)

    def sells(part: str, **headers: str) -> int:
        url = f"http://{parts[part]['address']}/api/v1/products"
        return len(httpx.get(url, headers=headers, timeout=10).json()["products"])

    assert sells("nginx") == 20
    assert sells("nginx", Host="acme.localhost") == 5  # on a shard
    ready = httpx.get(f"http://{parts['shop-1']['address']}/health/ready").json()
    assert ready["status"] == "ok"
    assert {"shard shard-4", f"replica {parts['replica-1']['address']}"} < set(
        ready["dependencies"]
    )
    well = doctor(place)
    assert "red" not in well.values(), well
    instances = [name for name in well if name.startswith("instance ")]
    assert len(instances) == 3
    assert {"Redis Cluster", "clocks", "settings", "releases", *instances} <= set(well)
    assert all(well[f"the shard shard-{number}"] == "green" for number in range(1, 5))
    assert well["media s3://rcommerce-uploads"] == "green"
    killed = json.loads(lab(place, "kill", "shop-2", "--json").stdout)
    assert killed["state"] == "dead"
    reported = lab(place, "status", "--json")
    assert reported.returncode == 1
    assert state.part(json.loads(reported.stdout), "shop-2")["pid"] is None
    assert all(sells("nginx") == 20 for _ in range(10))
    if "haproxy" in parts:
        assert all(sells("haproxy") == 20 for _ in range(10))
    else:
        assert any("haproxy" in line for line in found["missing"])
    assert lab(place, "start", "shop-2").returncode == 0
    assert sells("shop-2") == 20
    assert json.loads(lab(place, "stop", "replica-1", "--json").stdout)["state"] == "stopped"
    assert lab(place, "status").returncode == 0  # as was asked
    assert lab(place, "stop", "s3").returncode == 0
    assert lab(place, "kill", "valkey-6").returncode == 0
    ill = doctor(place)
    assert ill["media s3://rcommerce-uploads"] == "red"
    assert ill[f"the replica {parts['replica-1']['address']} of the database"] == "red"
    assert ill[f"Redis {parts['valkey-6']['address']}"] == "red"
    assert ill["the database"] == ill["the shard shard-1"] == ill["Redis Cluster"] == "green"
    assert "breaker_opened" in lab(place, "logs", "shop-1", "-n", "500").stdout
    assert "there is no part shop-9" in lab(place, "stop", "shop-9").stderr
    assert "already" in lab(place, "up").stderr
    everything += processes(state.require(place))
    assert lab(place, "down").returncode == 0
    assert are_gone(everything)
    assert not place.exists()
    assert lab(place, "status").returncode == 1


@pytest.mark.parametrize("moment", ["while it starts", "once it is up"])
def test_ctrl_c_ends_all_of_it(place: Path, moment: str) -> None:
    process = begun(place, "--profile", "shop", "--products", "5")
    phase = "up" if moment == "once it is up" else "starting"
    eventually(lambda: (state.read(place) or {}).get("phase") == phase, timeout_s=60)
    if phase == "starting":
        eventually(lambda: processes(state.read(place) or {"parts": []}), timeout_s=30)
    pids = processes(state.require(place))
    process.send_signal(signal.SIGINT)
    reported, _ = process.communicate(timeout=60)
    assert process.returncode == 0, reported
    assert "All of it has ended." in reported
    eventually(lambda: are_gone(pids))
    assert not place.exists()


def test_a_lab_whose_own_process_was_killed_is_ended_by_the_next_command(place: Path) -> None:
    for what in ("down", "up"):
        process = begun(place, "--profile", "shop", "--products", "5")
        eventually(lambda: (state.read(place) or {}).get("phase") == "up", timeout_s=60)
        pids = processes(state.require(place))
        process.kill()
        process.communicate()
        assert not are_gone(pids)
        assert "without being asked" in lab(place, "status").stderr
        if what == "down":
            assert lab(place, "down").returncode == 0
        else:
            again = lab(place, "up", "--profile", "shop", "--products", "5", "--detach")
            assert again.returncode == 0, again.stderr
        assert are_gone(pids)


def test_what_is_not_a_labs_is_left_alone(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "precious").write_text("mine")
    reported = lab(place, "up")
    assert reported.returncode == 1
    assert "not empty" in reported.stderr
    assert lab(place, "down").returncode == 0
    assert (place / "precious").read_text() == "mine"
    deep = place / ("x" * 120)
    deep.mkdir()
    assert "too long" in lab(deep, "up").stderr


def test_a_part_that_does_not_come_up_is_told_and_the_rest_ends(place: Path) -> None:
    process = begun(place, "--profile", "shop", "--products", "5")
    eventually(lambda: (place / "primary" / "postgres.log").exists(), timeout_s=60)
    eventually(lambda: processes(state.read(place) or {"parts": []}), timeout_s=60)
    primary = state.part(state.require(place), "primary")
    time.sleep(0.5)
    os.kill(primary["pid"], signal.SIGKILL)
    reported, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "Error" in reported
    assert state.read(place) is not None  # its logs are still there
    assert lab(place, "down").returncode == 0
    assert not place.exists()
