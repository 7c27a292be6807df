"""rcommerce plan and rcommerce simulate, as an operator calls them."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from commands import execute
from deploy_files import fleet_in


def rcommerce(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return execute(arguments, folder, os.environ)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fleet_in(tmp_path, "[instances]\nmin = 3\nmax = 20\n")
    return tmp_path


def test_a_plan_is_a_fleet_that_can_be_rendered(folder: Path) -> None:
    made = rcommerce(folder, "plan", "--rps", "20000", "--write", "planned.toml", "--json")
    assert made.returncode == 0, made.stderr
    plan = json.loads(made.stdout)
    assert plan["instances"] >= 2
    assert {"what", "value", "sum"} == set(plan["lines"][0])
    again = rcommerce(folder, "plan", "--rps", "20000", "--write", "planned.toml")
    assert (again.returncode, "planned.toml cannot be written" in again.stderr) == (1, True)
    out = rcommerce(
        folder, "deploy", "render", "kubernetes", "--fleet", "planned.toml", "--out", "out"
    )
    assert out.returncode == 0, out.stderr
    scaler = (folder / "out/kubernetes/base/hpa.yaml").read_text()
    assert f"minReplicas: {plan['instances']}" in scaler


def test_measured_costs_are_taken_from_a_result(folder: Path) -> None:
    rows = [
        {"answered/s": 500, "server_cpu": 0.3, "p50_ms": 3, "p99_ms": 10},
        {"answered/s": 1000, "server_cpu": 0.9, "p50_ms": 4, "p99_ms": 30},
    ]
    (folder / "mixed.json").write_text(json.dumps({"rows": rows}))
    made = rcommerce(folder, "plan", "--rps", "10000", "--costs", "mixed.json", "--json")
    assert "10,000/s × 0.90 ms = 9.0 processors busy" in json.loads(made.stdout)["lines"][0]["sum"]
    (folder / "mixed.json").write_text("{}")
    refused = rcommerce(folder, "plan", "--rps", "10000", "--costs", "mixed.json")
    assert refused.returncode == 2
    assert "must be what “rcommerce bench run mixed --json” printed" in refused.stderr


def test_a_simulation_says_whether_it_would_have_held(folder: Path) -> None:
    sale = rcommerce(folder, "simulate", "autoscale", "flash-sale", "--json", "--plot", "plots")
    assert sale.returncode == 1
    [run] = json.loads(sale.stdout)["runs"]
    assert not run["has_held"]
    assert run["refused_share"] > 0.01
    assert {each.name for each in (folder / "plots").iterdir()} == {
        "autoscale-flash-sale.png",
        "autoscale-flash-sale.svg",
    }
    (folder / "early.toml").write_text("[instances]\nmin = 8\nmax = 20\ncount = 8\n")
    both = rcommerce(
        folder, "simulate", "autoscale", "flash-sale", "--fleet", "early.toml",
        "--against", "fleet.toml",
    )  # fmt: skip
    assert both.returncode == 0
    assert "It would have held" in both.stdout
    assert "It would not have held" in both.stdout
    (folder / "day.csv").write_text("0,100\n600,200\n")
    assert rcommerce(folder, "simulate", "autoscale", "day.csv").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "unknown trace nothing; available: diurnal"),
        (("none.csv",), "cannot be read"),
        (("diurnal", "--on", "moon"), "it must be kubernetes or aws"),
        (("diurnal", "--fleet", "none.toml"), "there is no such file"),
    ],
)
def test_a_simulation_of_what_there_is_not_is_refused(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    refused = rcommerce(folder, "simulate", "autoscale", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr.replace("\n", " ")
