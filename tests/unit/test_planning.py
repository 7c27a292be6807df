"""The planner's arithmetic, and the file that it writes."""

from dataclasses import replace
from pathlib import Path

import pytest

from deploy_files import fleet_in
from rcommerce.deploy.arithmetic import require_sound
from rcommerce.errors import SettingsError
from rcommerce.simulation.planning import PRICES, Wanted, plan, read_prices
from rcommerce.simulation.service import Costs

COSTS = Costs()


def test_twice_the_load_takes_about_twice_the_instances() -> None:
    few, many = plan(Wanted(rps=50_000), COSTS), plan(Wanted(rps=100_000), COSTS)
    assert few.instances - 1 == pytest.approx((many.instances - 1) / 2, abs=1)
    assert few.cost_month < many.cost_month < 2 * few.cost_month + 1
    low, high = many.instances_range
    assert low <= many.instances <= high


def test_what_it_says_is_the_sum_that_it_shows() -> None:
    made = plan(Wanted(rps=100_000, processors=2), replace(COSTS, request_ms=0.5))
    # 100,000 × 0.5 ms = 50 processors, of 2 × 70 % each, and one to spare
    assert made.instances == 37
    line = next(each for each in made.lines if each.what == "instances")
    assert "100,000/s × 0.50 ms = 50.0 processors busy" in line.sum


def test_a_tighter_bound_takes_more_instances() -> None:
    loose = plan(Wanted(rps=50_000, processors=1), COSTS)
    tight = plan(Wanted(rps=50_000, processors=1, p99_ms=14), COSTS)
    assert tight.instances > loose.instances
    with pytest.raises(SettingsError, match="an idle instance has a p99 of 12 ms"):
        plan(Wanted(rps=1_000, p99_ms=11), COSTS)


def test_a_pooler_is_asked_for_where_connections_end() -> None:
    few = plan(Wanted(rps=1_000), COSTS)
    assert not few.needs_pooler
    many = plan(Wanted(rps=100_000), COSTS)
    assert many.needs_pooler
    text = next(each.sum for each in many.lines if each.what == "connections")
    assert "PostgreSQL has 100 - 3 = 97: 4 instances; PgBouncer takes 10,000: 500 instances" in text


def test_shops_and_writes_ask_for_shards() -> None:
    assert plan(Wanted(rps=1_000), COSTS).shards == 1
    assert plan(Wanted(rps=1_000, tenants=12_000), COSTS).shards == 3
    assert plan(Wanted(rps=200_000), COSTS).shards > 3


def test_the_file_that_it_writes_is_a_fleet(tmp_path: Path) -> None:
    for rps in (100, 5_000, 100_000):
        made = plan(Wanted(rps=rps), COSTS)
        fleet = fleet_in(tmp_path, made.fleet_toml())
        require_sound(fleet)
        assert fleet.size == made.instances


def test_prices_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("instance_cpu_hour = 1\n")
    assert read_prices(path) == {**PRICES, "instance_cpu_hour": 1}
    path.write_text("instance_hour = 1\n")
    with pytest.raises(SettingsError, match="no price instance_hour; there are instance_cpu_hour"):
        read_prices(path)
    path.write_text('traffic_gb = "free"\n')
    with pytest.raises(SettingsError, match="traffic_gb must be a number"):
        read_prices(path)


def test_redis_keeps_what_is_asked_for_not_what_there_is() -> None:
    few = plan(Wanted(rps=1_000, products=10_000), COSTS)
    more_shops = plan(Wanted(rps=1_000, products=10_000, tenants=1_000), COSTS)
    most = plan(Wanted(rps=1_000, products=10_000, tenants=5_000), COSTS)
    assert few.redis_mb < more_shops.redis_mb == most.redis_mb
