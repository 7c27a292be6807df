"""The fleet at a glance: what is put together, what differs, what is said to have happened."""

from typing import Any

import msgspec
import pytest

from rcommerce.settings import DatabaseSettings, Settings
from rcommerce.settings.digests import digests, fingerprint
from rcommerce.telemetry.heartbeats import Figures, Pool, Process, quantile
from rcommerce.telemetry.overview import Node, ShardView, View, changes, drift, together
from rcommerce.telemetry.requests import BOUNDS_S

SETTINGS = {"checkout.reservation_ttl_secs": "a", "cache.enabled": "b"}


def process(instance: str = "one:8080", **changed: Any) -> Process:
    given = {
        "instance": instance, "pid": 1, "kind": "server", "version": "1", "settings": SETTINGS,
        "is_draining": False, "figures": Figures(), "up_s": 10.0, "silent_s": 0.5,
    }  # fmt: skip
    return Process(**{**given, **changed})


def view(*processes: Process, **changed: Any) -> View:
    shard = ShardView(
        name="main",
        primary=Node(name="primary", state="up", latency_ms=1),
        replicas=[Node(name="replica", state="up", latency_ms=1)],
        tenants=3,
    )
    given = {
        "at": 1.0, "seen_by": "one:8080", "heard_s": 0.0, "instances": together(processes),
        "shards": [shard],
    }  # fmt: skip
    return View(**{**given, **changed})


def texts(before: View, now: View) -> list[str]:
    return [each.text for each in changes(before, now)]


def test_the_processes_of_an_instance_are_put_together() -> None:
    first = Figures(requests_per_s=10, p99_ms=5, cpu=0.5, pools=[Pool("database", 4, 1, 0)])
    second = Figures(requests_per_s=20, p99_ms=9, cpu=0.25, pools=[Pool("database", 4, 3, 2)])
    [found] = together([process(figures=first), process(pid=2, figures=second)])
    assert (found.processes, found.requests_per_s, found.p99_ms, found.cpu) == (2, 30, 9, 0.75)
    assert found.pools == [Pool("database", 8, 4, 2)]


def test_one_process_that_is_dead_does_not_make_its_instance_silent() -> None:
    both = [process(silent_s=30.0), process(pid=2, figures=Figures(requests_per_s=5))]
    [found] = together(both)
    assert (found.state, found.processes, found.requests_per_s) == ("up", 1, 5)
    [found] = together([process(silent_s=30.0)])
    assert found.state == "silent"


def test_who_differs_from_most_is_named_with_the_setting() -> None:
    odd = process("three", settings={**SETTINGS, "cache.enabled": "c"})
    found = drift({each.instance: [each] for each in (process("one"), process("two"), odd)})
    assert found == {"three": ["cache.enabled"]}


def test_of_two_who_differ_both_are_named() -> None:
    odd = process("two", settings={**SETTINGS, "cache.enabled": "c"})
    found = drift({each.instance: [each] for each in (process("one"), odd)})
    assert found == {"one": ["cache.enabled"], "two": ["cache.enabled"]}
    gone = replace_silent(odd)
    assert drift({each.instance: [each] for each in (process("one"), gone)}) == {}


def replace_silent(of: Process) -> Process:
    return msgspec.structs.replace(of, silent_s=30.0)


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        ([], [process()], "one:8080 has come up (1)"),
        ([process()], [], "one:8080 has stopped"),
        ([process()], [process(is_draining=True)], "one:8080 is draining"),
        ([process()], [process(silent_s=9.0)], "one:8080 sends no heartbeat"),
        ([process(silent_s=9.0, up_s=90)], [process(up_s=99)], "one:8080 is up again"),
        ([process(up_s=90)], [process(up_s=1)], "one:8080 has restarted"),
        ([process()], [process(version="2")], "one:8080 was upgraded from 1 to 2"),
        (
            [process()],
            [process(figures=Figures(open_breakers={"media": "refused"}))],
            "one:8080: circuit breaker of media open: refused",
        ),
        (
            [process(figures=Figures(open_breakers={"media": "refused"}))],
            [process()],
            "one:8080: circuit breaker of media closed",
        ),
    ],
)
def test_what_changes_is_told(before: list[Process], now: list[Process], text: str) -> None:
    assert texts(view(*before), view(*now)) == [text]


def test_databases_and_moves_are_told() -> None:
    before, now = view(process()), view(process())
    assert texts(before, now) == []
    now.shards[0].replicas[0].state = "lagging"
    now.shards[0].tenants = 4
    now.heard_s = 3.0
    assert texts(before, now) == [
        "main: replica is lagging",
        "main has 4 tenants (before: 3)",
        "the control database is unavailable: no heartbeats of other instances",
    ]


def test_a_quantile_lies_in_its_bucket() -> None:
    buckets = [0.0] * (len(BOUNDS_S) + 1)
    assert quantile(buckets, 0.5) is None
    buckets[2] = 100.0
    found = quantile(buckets, 0.5)
    assert found is not None
    assert BOUNDS_S[1] * 1000 < found < BOUNDS_S[2] * 1000
    buckets[-1] = 1000.0  # beyond the last bound
    assert quantile(buckets, 0.99) == BOUNDS_S[-1] * 1000


def test_digests_tell_whether_settings_are_the_same_and_not_what_they_are() -> None:
    one = Settings(database=DatabaseSettings(password="one"))
    two = Settings(database=DatabaseSettings(password="two"))
    first, second = digests(one, "secret"), digests(two, "secret")
    assert {key for key in first if first[key] != second[key]} == {"database.password"}
    assert fingerprint(first, "secret") != fingerprint(second, "secret")
    assert digests(one, "another")["database.password"] != first["database.password"]
    ported = Settings()
    ported.server.port = 9000
    assert digests(ported, "secret") == digests(Settings(), "secret")
