"""What the doctor makes of what it has been told: clocks, instances, the certificate."""

import subprocess
from pathlib import Path

import msgspec

from rcommerce import __version__
from rcommerce.doctor import instances, machine
from rcommerce.doctor.clocks import agreement
from rcommerce.doctor.findings import Finding, Sample, distance
from rcommerce.settings import Settings, load
from rcommerce.settings.digests import digests
from rcommerce.settings.schema import Security, Tls
from rcommerce.telemetry.heartbeats import Figures, Process

SECRET = "s" * 32


def test_a_clock_is_read_off_the_fastest_of_several_answers() -> None:
    slow, fast = Sample(10.0, 16.5, 12.0), Sample(20.0, 25.01, 20.02)
    assert distance([slow, fast, fast]) == {"round_trip_ms": 20.0, "clock_differs_s": 5.0}


def clocks(**differs_s: float) -> list[tuple[str, str]]:
    reported = [
        Finding("green", key, "", clock_differs_s=value) for key, value in differs_s.items()
    ]
    return [(each.state, each.message) for each in agreement(reported)]


def test_a_clock_that_is_off_is_named_with_whose_it_is() -> None:
    assert clocks() == []
    assert clocks(database=0.002, redis=-0.3) == [
        ("green", "2 servers and this machine agree within 0.3 s")
    ]
    assert clocks(database=0.0, redis=-3.0) == [
        ("yellow", "that of redis is 3.0 s behind this machine's")
    ]
    assert clocks(database=400.0, redis=0.0) == [
        ("red", "that of database is 400.0 s ahead of this machine's")
    ]
    assert clocks(database=90.2, redis=90.0) == [
        ("red", "this machine's is 90.2 s behind all 2 servers'")
    ]


def fleet(settings: Settings) -> list[Process]:
    own = digests(settings, SECRET)
    return [
        Process(
            instance=f"host:{port}", pid=port, kind="server", version=__version__, settings=own,
            is_draining=False, figures=Figures(requests_per_s=7), up_s=60, silent_s=1,
        )
        for port in (8081, 8082, 8083)
    ]  # fmt: skip


def settings(folder: Path, text: str = "") -> Settings:
    file = folder / "rcommerce.toml"
    file.write_text(f'{text}\n[database]\nhost = "db"\n[security.jwt]\nsecret = "{SECRET}"\n')
    return load(file, {}).settings


def test_instances_that_agree_are_green(tmp_path: Path) -> None:
    own = settings(tmp_path)
    found = list(instances.examine(fleet(own), own))
    assert {each.state for each in found} == {"green"}
    assert [each.about for each in found][-2:] == ["releases", "settings"]


def test_what_differs_between_instances_and_this_command_is_named(tmp_path: Path) -> None:
    own = settings(tmp_path)
    one, two, three = fleet(own)
    drifted = msgspec.structs.replace(one, settings={**one.settings, "cache.max_size_mb": "other"})
    away = Figures(clock_behind_s=-5.0, open_breakers={"media": "timeout\nand more"})
    silent = msgspec.structs.replace(two, silent_s=30, version="0.0.1")
    found = list(
        instances.examine(
            [drifted, silent, msgspec.structs.replace(three, figures=away)],
            settings(tmp_path, "[checkout]\nreservation_ttl_secs = 60"),
        )
    )
    reported = {(each.state, each.about, each.message.partition(":")[0]) for each in found}
    assert {
        ("yellow", "instance host:8081", "settings differ from the others"),
        ("red", "instance host:8082", "no heartbeat for 6 s"),
        ("yellow", "instance host:8083", "circuit breaker open"),
        ("yellow", "instance host:8083", "its clock is 5.0 s ahead of the database's"),
        ("yellow", "settings", "those that run have others than this command"),
    } <= reported
    assert next(each.message for each in found if each.about == "settings").endswith(
        "checkout.reservation_ttl_secs"
    )
    assert [each.state for each in found if each.about == "releases"] == ["yellow"]


def test_without_the_installations_secret_the_rest_is_told_all_the_same(tmp_path: Path) -> None:
    own = settings(tmp_path)
    without = msgspec.structs.replace(own, security=Security())
    *others, last = instances.examine(fleet(own), without)
    assert len(others) == 4
    assert (last.about, last.state) == ("settings", "yellow")
    assert "security.jwt.secret is needed" in last.message


def test_a_certificate_is_read_as_its_clients_will(tmp_path: Path) -> None:
    for name, days in (("short", "10"), ("long", "300")):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", days, "-subj",
             "/CN=shop.example", "-keyout", f"{name}.key", "-out", f"{name}.pem"],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip

    def reported(certificate: str, key: str) -> Finding:
        tls = Tls(enabled=True, cert_file=tmp_path / certificate, key_file=tmp_path / key)
        *_, found = machine.examine(Settings(data_dir=tmp_path, tls=tls))
        assert found.about.startswith("certificate")
        return found

    assert reported("long.pem", "long.key").state == "green"
    assert reported("short.pem", "short.key").state == "yellow"
    assert "10 days" in reported("short.pem", "short.key").message
    assert "mismatch" in reported("long.pem", "short.key").message
    assert reported("long.pem", "short.key").state == "red"
    assert reported("absent.pem", "short.key").state == "red"
