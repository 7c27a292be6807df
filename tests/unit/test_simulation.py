"""A fleet under load, simulated: the sums come out, and more helps more."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_files import FLEET, SETTINGS, fleet_in
from rcommerce.errors import SettingsError
from rcommerce.simulation.fleet import Around, Setup, setup_of, simulate
from rcommerce.simulation.service import Costs, accepted, erlang_c, latency_ms, wait_ms
from rcommerce.simulation.target_tracking import TargetTracking
from rcommerce.simulation.traces import Trace, built_in, from_csv

COSTS = Costs()


def test_erlang_c_is_that_of_the_tables() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)  # M/M/1: the share of the time that it is busy
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(10, 8.0) == pytest.approx(0.4092, abs=1e-4)


def test_waits_of_one_server_are_those_of_mm1() -> None:
    """P(W > t) = ρ e^-(μ-λ)t."""
    wait = wait_ms(rate=500, servers=1, work_ms=1.0, variation=1.0, share=0.99)
    assert 0.5 * math.exp(-(1.0 - 0.5) * wait) == pytest.approx(0.01)
    assert wait_ms(5, 1, 1.0, 1.0, 0.99) == 0.0  # more than 99 % do not wait at all
    assert wait_ms(1000, 1, 1.0, 1.0, 0.99) == math.inf


def test_latency_grows_with_load_and_shrinks_with_processors() -> None:
    rates = (100.0, 1000.0, 2000.0, 3000.0, 3600.0)
    p99s = [latency_ms(rate, 1, 0.27, COSTS)[1] for rate in rates]
    assert p99s == sorted(p99s)
    assert latency_ms(3000, 2, 0.27, COSTS)[1] < latency_ms(3000, 1, 0.27, COSTS)[1]


def test_refusals_take_from_what_could_be_answered() -> None:
    assert accepted(900, 1000, COSTS, 1.0) == 900
    thrice = accepted(3000, 1000, COSTS, 1.0)
    assert thrice * 1.0 + (3000 - thrice) * COSTS.refusal_ms == pytest.approx(970)
    assert accepted(1e6, 1000, COSTS, 1.0) == 0.0


def the_setup(folder: Path, fleet: str = FLEET, settings: str = SETTINGS) -> Setup:
    return setup_of(fleet_in(folder, fleet, settings), "kubernetes", COSTS, Around(), "fleet")


def test_nothing_comes_up_or_gets_lost_of_what_was_asked(tmp_path: Path) -> None:
    for trace in built_in(2000, 0.995).values():
        outcome = simulate(the_setup(tmp_path), trace)
        assert outcome.rows
        for row in outcome.rows:
            assert row.served + row.refused == pytest.approx(row.asked)
            assert row.served >= 0
            assert row.refused >= -1e-6
            assert 0 <= row.utilization <= 1
            assert row.ready <= outcome.setup.most
        assert outcome.cost > 0


def test_a_flash_sale_is_held_by_instances_that_are_there_before_it(tmp_path: Path) -> None:
    sale = built_in(2000, 0.995)["flash-sale"]
    late = simulate(the_setup(tmp_path), sale)
    early = simulate(replace(the_setup(tmp_path), first=8, least=8), sale)
    assert not late.has_held
    assert early.has_held
    assert early.refused_share == 0 < late.refused_share
    assert early.cost > late.cost


def test_an_ordinary_day_is_held_with_as_few_as_may_be(tmp_path: Path) -> None:
    outcome = simulate(the_setup(tmp_path), built_in(2000, 0.995)["diurnal"])
    assert outcome.has_held
    assert outcome.most == 3
    assert not outcome.limits


def test_instances_that_postgresql_has_no_connections_for_never_get_ready(tmp_path: Path) -> None:
    settings = '[server]\nworkers = 2\n[database]\nhost = "10.0.2.10"\npool_size = 20\n'
    setup = the_setup(tmp_path, "", settings)
    assert setup.connections_fit == 4  # 97 / 20
    outcome = simulate(setup, built_in(8000, 0.995)["flash-sale"])
    assert outcome.most == 4
    assert "connections of PostgreSQL: 4 instances fit" in outcome.limits


def test_databases_that_are_too_small_are_named(tmp_path: Path) -> None:
    setup = replace(the_setup(tmp_path), first=20, database_processors=2)
    outcome = simulate(setup, built_in(2000, 0.995)["flash-sale"])
    assert outcome.limits == {"the databases' processors"}


def test_target_tracking_goes_out_after_three_minutes_and_in_after_fifteen() -> None:
    policy = TargetTracking(2, 10, 70)
    assert [policy.decide(3, 100) for _ in range(3)] == [3, 3, 5]  # 3 × 100 / 70
    assert [policy.decide(5, 40) for _ in range(15)] == [5] * 14 + [4]
    assert policy.decide(4, None) == 4
    assert TargetTracking(2, 10, 70).decide(12, 50) == 10


def test_aws_comes_later_than_kubernetes(tmp_path: Path) -> None:
    sale = built_in(2000, 0.995)["flash-sale"]
    fleet = fleet_in(tmp_path)
    aws = simulate(setup_of(fleet, "aws", COSTS, Around(), "aws"), sale)
    kubernetes = simulate(the_setup(tmp_path), sale)
    assert aws.refused_share > kubernetes.refused_share


def test_a_redis_that_is_too_busy_makes_requests_wait_and_fails_none(tmp_path: Path) -> None:
    wide = replace(the_setup(tmp_path), first=20, redis_primaries=1, database_processors=1000)
    quiet = simulate(wide, Trace("steady", "", 300, lambda _: 20_000.0))
    busy = simulate(wide, Trace("steady", "", 300, lambda _: 80_000.0))
    assert quiet.rows[-1].redis == pytest.approx(20_000 * 2 * 0.007 / 1000)
    assert not quiet.limits
    assert any("Redis" in limit for limit in busy.limits)
    assert busy.rows[-1].p99_ms >= wide.redis_timeout_ms
    assert busy.refused == 0
    more = simulate(replace(wide, redis_primaries=3), Trace("", "", 300, lambda _: 80_000.0))
    assert not any("Redis" in limit for limit in more.limits)


def test_the_traces_are_those_that_they_say() -> None:
    known = built_in(1000, 0.995)
    sale = known["flash-sale"].at
    assert (sale(0), sale(600), sale(630)) == (1000, 1000, 20_000)
    friday = known["black-friday"]
    most = max(friday.at(t) for t in range(0, int(friday.seconds), 10))
    assert most == pytest.approx(284e6 / 60 * 0.005, rel=0.02)
    day = known["diurnal"].at
    assert day(5 * 3600) == pytest.approx(250)
    assert day(17 * 3600) == pytest.approx(1000)


def test_a_file_is_read_as_lines_between_its_points(tmp_path: Path) -> None:
    path = tmp_path / "yesterday.csv"
    path.write_text("seconds,rps\n0,100\n60,200\n120,0\n")
    trace = from_csv(path)
    assert (trace.seconds, trace.at(0), trace.at(30), trace.at(90)) == (120, 100, 150, 100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs two lines"),
        ("0,1\n", "needs two lines"),
        ("0,1\n60,many\n", r":2: must be “seconds,requests a second”"),
        ("0,1,2\n60,1\n", r":1: must be"),
        ("0,1\n0,2\n", "each later than the one before"),
        ("0,1\n60,-1\n", "must not be below 0"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        from_csv(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        from_csv(tmp_path / "none.csv")


def test_nobody_there_answers_nothing(tmp_path: Path) -> None:
    setup = replace(the_setup(tmp_path), first=0, least=0)
    outcome = simulate(setup, Trace("flat", "", 60, lambda _: 10.0))
    assert outcome.refused_share == 1
