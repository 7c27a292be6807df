"""A benchmark that has stopped working is found here, not on the day that its figure is needed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import Running
from rcommerce.bench import channels, checkout, footprint, growth, mixed, releases
from rcommerce.bench.registry import BENCHMARKS, Benchmark
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench, shop
from rcommerce.cli.bench import app
from rcommerce.errors import StartError


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with shop(50, print) as made:
        yield made


def test_checkout_is_measured_against_its_own_statements(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SECONDS": 4, "ROUNDS": 1, "WARM_UP_S": 1}.items():
        monkeypatch.setattr(checkout, name, value)
    result = checkout.run(bench)
    assert min(result.value, result.ceiling or 0) > 0
    assert result.details["statements_an_order"] > 20


def test_a_shops_day_is_measured_at_each_rate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SECONDS": 2.0, "WARM_S": 0.5, "RATES": (20, 40), "BAR_MS": 1e5}.items():
        monkeypatch.setattr(mixed, name, value)
    result = mixed.run(bench, warm_s=1.0)
    assert [row["asked/s"] for row in result.rows] == [20, 40]
    assert all(row["failed"] == 0 for row in result.rows)
    assert all(row["p50_ms"] <= row["p99_ms"] for row in result.rows)


def test_shops_and_catalogues_are_multiplied(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"CATALOGUES": (50, 100), "TENANTS": (2, 3), "SECONDS": 0.3, "WARM_S": 0.1}
    for name, value in {**sizes, "PRODUCTS": 50}.items():
        monkeypatch.setattr(growth, name, value)
    grown = growth.catalogue(bench)
    assert bench.query("select count(*) from product") == [(100,)]
    with shop(growth.OF_TENANT, print) as other:
        settled = growth.tenants(other)
        counts = other.query("select count(*) from product group by tenant_id")
        assert counts == [(growth.OF_TENANT,)] * 3
    for result in (grown, settled):
        assert len(result.rows) == 2
        assert all(row["detail_ms"] > 0 and row["list_ms"] > 0 for row in result.rows)


def test_a_channels_list_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"PRODUCTS": 50, "SIZE": 200, "ROUNDS": 1, "SECONDS": 0.3, "WARM_S": 0.1}
    for name, value in sizes.items():
        monkeypatch.setattr(channels, name, value)
    with shop(50, print) as bench:
        result = channels.run(bench)
        counts = bench.query("select count(*), count(distinct product_id) from channel_listing")
    assert counts == [(400, 200)]  # before the sale, and in it
    assert result.ratio is not None
    assert result.ratio > 0


def test_a_release_is_compared_with_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "PRODUCTS", 50)
    monkeypatch.setattr(releases, "SECONDS", 0.5)
    for name, what in releases.COMPARISONS.items():
        monkeypatch.setitem(releases.COMPARISONS, name, what._replace(rounds=1))
    here = Path(__file__).parents[2]
    done = CliRunner().invoke(app, ["compare", "checkout-coupon", "--with", str(here), "--json"])
    result = json.loads(done.stdout)
    assert result["name"] == "compare checkout-coupon"
    assert min(result["value"], result["ceiling"]) > 0
    assert done.exit_code == (0 if result["ok"] else 1)
    nowhere = CliRunner().invoke(app, ["compare", "checkout", "--with", str(here / "docs")])
    assert "is no checkout of R Commerce" in str(nowhere.exception)
    unknown = CliRunner().invoke(app, ["compare", "speed", "--with", str(here)])
    assert "compare runs read-hot, list-hot" in str(unknown.exception)


def test_a_benchmark_prints_one_object_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "ROUNDS", 1)
    done = CliRunner().invoke(app, ["run", "startup", "--json"])
    result = json.loads(done.stdout)
    assert {"name", "value", "unit", "ceiling", "ratio", "bar", "ok"} <= set(result)
    assert done.exit_code == (0 if result["ok"] else 1)


def test_what_cannot_be_run_here_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def away(_: object) -> Result:
        raise StartError("no such server here")

    def fine(_: object) -> Result:
        rows = [{"products": size, "detail_ms": 0.5, "list_ms": 1.0} for size in (10, 100)]
        return Result(
            name="catalogue-growth", value=1, unit="", ceiling=1, ratio=1, bar=1, ok=True, rows=rows
        )

    made = {"away": Benchmark("", "", away), "catalogue-growth": Benchmark("", "", fine)}
    monkeypatch.setattr("rcommerce.cli.bench.BENCHMARKS", made)
    monkeypatch.setitem(BENCHMARKS, "away", made["away"])
    monkeypatch.setitem(BENCHMARKS, "catalogue-growth", made["catalogue-growth"])
    done = CliRunner().invoke(app, ["run", "all", "--json", "--plot", str(tmp_path)])
    reported = json.loads(done.stdout)
    assert done.exit_code == 1
    assert reported["not_run"] == {"away": "no such server here"}
    assert [each["name"] for each in reported["results"]] == ["catalogue-growth"]
    assert (tmp_path / "catalogue-growth.svg").exists()


def test_a_benchmark_that_there_is_not_is_told(embedded_shop: Running) -> None:
    unknown = embedded_shop.server.command("bench", "run", "nothing")
    assert (unknown.returncode, "read-cold" in unknown.stderr) == (2, True)
