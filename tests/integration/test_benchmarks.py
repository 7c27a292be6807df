"""A benchmark that has stopped working is found here, not on the day that its figure is needed."""

import pytest

from rcommerce.bench import checkout, growth, mixed
from rcommerce.bench.setup import shop


def test_checkout_is_measured_against_its_own_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECONDS", "ROUNDS", "WARM_UP_S"):
        monkeypatch.setattr(checkout, name, 1)
    with shop(50, print) as bench:
        result = checkout.run(bench)
    assert min(result.value, result.ceiling or 0) > 0
    assert result.details["statements_an_order"] > 20


def test_a_shops_day_is_measured_at_each_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SECONDS": 2.0, "WARM_S": 0.5, "RATES": (20, 40), "BAR_MS": 1e5}.items():
        monkeypatch.setattr(mixed, name, value)
    with shop(50, print) as bench:
        result = mixed.run(bench, warm_s=1.0)
    assert [row["asked/s"] for row in result.rows] == [20, 40]
    assert all(row["failed"] == 0 for row in result.rows)
    assert all(row["p50_ms"] <= row["p99_ms"] for row in result.rows)


def test_shops_and_catalogues_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"CATALOGUES": (50, 100), "TENANTS": (2, 3), "SECONDS": 0.3, "WARM_S": 0.1}
    for name, value in {**sizes, "PRODUCTS": 50}.items():
        monkeypatch.setattr(growth, name, value)
    with shop(50, print) as bench:
        grown = growth.catalogue(bench)
        assert bench.query("select count(*) from product") == [(100,)]
    with shop(growth.OF_TENANT, print) as bench:
        settled = growth.tenants(bench)
        counts = bench.query("select count(*) from product group by tenant_id")
        assert counts == [(growth.OF_TENANT,)] * 3
    for result in (grown, settled):
        assert len(result.rows) == 2
        assert all(row["detail_ms"] > 0 and row["list_ms"] > 0 for row in result.rows)
