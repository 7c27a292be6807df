"""What is modelled from what was measured, and drawn."""

from pathlib import Path
from typing import Any

import pytest

from rcommerce.bench import latency, plots, scaling
from rcommerce.bench.report import Result
from rcommerce.bench.shoppers import Shoppers


def test_the_law_is_found_again_from_its_own_points() -> None:
    law = scaling.Law(1_000, 0.03, 0.0005)
    costs = {n: n * 1_000 / law.at(n) for n in (1, 3, 10, 20)}
    found = scaling.fitted(1_000, costs)
    assert found.contention == pytest.approx(0.03)
    assert found.coherence == pytest.approx(0.0005)
    assert found.at(10) == pytest.approx(law.at(10))


def test_costs_that_do_not_grow_are_linear_and_those_that_fall_are_no_gain() -> None:
    for costs in ({1: 1.0, 3: 1.0, 20: 1.0}, {1: 1.0, 3: 0.9, 20: 0.95}):
        assert scaling.fitted(100, costs).at(20) == 2_000


def test_percentiles_are_those_of_the_samples() -> None:
    found = latency.histogram([n / 1000 for n in range(1, 1001)])
    assert latency.at(found, 50) == pytest.approx(500, rel=0.002)
    assert latency.percentiles_ms(found)["p99_ms"] == pytest.approx(990, rel=0.002)
    assert latency.curve(found)[-1][0] == 3


def test_shoppers_look_more_than_they_buy_and_finish_what_they_begin() -> None:
    shoppers = Shoppers([(f"product-{n}", f"variant-{n}") for n in range(100)])
    kinds: dict[str, int] = {}
    for _ in range(5_000):
        request = shoppers.pick()
        kinds[request.kind] = kinds.get(request.kind, 0) + 1
        if request.then is not None:
            request.then(b'{"cart": {"id": "c", "session_token": "t"}}')
    assert kinds["detail"] == pytest.approx(3_500, rel=0.05)
    assert kinds["list"] == pytest.approx(750, rel=0.15)
    assert kinds["checkout"] == pytest.approx(250, rel=0.3)


def _grown(key: str) -> list[dict[str, Any]]:
    return [{key: n, "detail_ms": 0.5, "list_ms": 1.0 + n / 1e6} for n in (10, 1_000, 10_000)]


def _rows(key: str, rate: str) -> list[dict[str, Any]]:
    return [{key: n, rate: 1_000 * n, "seed_requests/s": 500 * n} for n in (1, 2, 4)]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("mixed", []),
        ("connections", []),
        ("single-instance", _rows("processors", "requests/s")),
        ("horizontal", _rows("instances", "requests/s_modelled")),
        ("catalogue-growth", _grown("products")),
        ("tenant-growth", _grown("tenants")),
    ],
)
def test_what_can_be_drawn_is(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    result = Result(
        name=name, value=1, unit="", ceiling=1, ratio=1, bar=1, ok=True, rows=rows,
        details={"curves": {"500": [(0.0, 1.0), (1.0, 2.0), (3.0, 9.0)]}},
    )  # fmt: skip
    paths = plots.save(result, tmp_path)
    assert [path.suffix for path in paths] == [".svg", ".png"]
    assert paths[0].read_text().startswith("<?xml")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert (
        plots.save(Result(name="x", value=1, unit="", ceiling=1, ratio=1, bar=1, ok=True), tmp_path)
        == []
    )
