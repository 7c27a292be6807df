"""The doctor asks real servers, some of which are not as they should be."""

import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from aiosmtpd.smtp import AuthResult

from conftest import eventually
from rcommerce.errors import StartError
from rcommerce.lab import settings
from rcommerce.lab.pgbouncer import PgBouncer, program
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from rcommerce.ports import free_port
from topology.conftest import FAST, server_for, shop_on

Told = dict[str, list[dict[str, Any]]]


def reported(shop: Server, *arguments: str, **more: str) -> Told:
    """The doctor's findings by what they are about."""
    done = shop.command("doctor", "--json", *arguments, **more)
    found = json.loads(done.stdout)
    assert done.returncode == (1 if found["state"] == "red" else 0), done.stderr
    by_about: Told = {}
    for each in found["findings"]:
        by_about.setdefault(each["about"], []).append(each)
    return by_about


def states(findings: list[dict[str, Any]]) -> list[str]:
    return [each["state"] for each in findings]


def test_a_replica_of_another_shops_database_is_red(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    primary = started(Postgres(own_folder / "primary", settings=FAST))
    other = started(Postgres(own_folder / "other", settings=FAST))
    own = started(primary.replica(own_folder / "own"))
    shop = server_for(own_folder / "shop", settings.database(primary, [own, other]))
    assert shop.command("db", "upgrade").returncode == 0
    found = reported(shop)
    assert states(found["the database"])[0] == "green"
    assert found["the database"][0]["round_trip_ms"] > 0
    assert states(found[f"the replica {own.address} of the database"])[0] == "green"
    assert "another database" in found[f"the replica {other.address} of the database"][0]["message"]
    own.query("select pg_wal_replay_pause()", user="postgres")
    with shop_on(shop):
        primary.query("select pg_switch_wal()", user="postgres")
        late = {"RCOMMERCE_DATABASE__MAX_REPLICA_LAG_S": "1"}

        def is_behind() -> bool:
            [first, *_] = reported(shop, **late)[f"the replica {own.address} of the database"]
            return first["state"] == "yellow" and "behind" in first["message"]

        eventually(is_behind, timeout_s=20)


@pytest.mark.parametrize(("mode", "state"), [("session", "yellow"), ("statement", "red")])
def test_a_pooler_in_another_mode_than_transaction_is_told(
    own_folder: Path, started: Callable[[Postgres], Postgres], mode: str, state: str
) -> None:
    try:
        program()
    except StartError as error:
        pytest.skip(str(error))
    server = started(Postgres(own_folder / "server", settings=FAST))
    behind = {"rcommerce": (server, "rcommerce")}
    with PgBouncer(own_folder / "bouncer", behind, settings={"pool_mode": mode}) as bouncer:
        shop = server_for(own_folder / "shop", settings.database(bouncer, direct=server))
        shop.command("db", "upgrade")
        found = reported(shop)[f"PgBouncer at {bouncer.address}"]
        assert [each["state"] for each in found if f"pool_mode = {mode}" in each["message"]] == [
            state
        ]


@pytest.fixture
def mail(own_folder: Path) -> Iterator[tuple[Controller, list[Any], dict[str, str]]]:
    """A mail server that wants TLS and a login; what it got; the settings that lead to it."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "mail.key",
         "-out", "mail.pem"],
        cwd=own_folder, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(own_folder / "mail.pem"), str(own_folder / "mail.key"))
    got: list[Any] = []

    class Kept(Message):
        def handle_message(self, message: Any) -> None:
            got.append(message)

    def login(_server: Any, _session: Any, _envelope: Any, _how: str, who: Any) -> AuthResult:
        is_known = (who.login, who.password) == (b"shop", b"secret")
        return AuthResult(success=is_known, handled=is_known)

    controller = Controller(
        Kept(), hostname="localhost", port=free_port(), tls_context=context,
        require_starttls=True, auth_required=True, authenticator=login,
    )  # fmt: skip
    controller.start()
    named = {
        "RCOMMERCE_NOTIFICATIONS__EMAIL__SMTP_HOST": "localhost",
        "RCOMMERCE_NOTIFICATIONS__EMAIL__SMTP_PORT": str(controller.port),
        "RCOMMERCE_NOTIFICATIONS__EMAIL__SMTP_USER": "shop",
        "RCOMMERCE_NOTIFICATIONS__EMAIL__SMTP_PASS": "secret",
        "SSL_CERT_FILE": str(own_folder / "mail.pem"),
    }
    yield controller, got, named
    controller.stop()


def test_mail_goes_to_a_server_that_is_who_it_says_it_is(
    own_folder: Path,
    started: Callable[[Postgres], Postgres],
    mail: tuple[Controller, list[Any], dict[str, str]],
) -> None:
    controller, got, named = mail
    primary = started(Postgres(own_folder / "primary", settings=FAST))
    about = f"mail localhost:{controller.port}"
    with shop_on(server_for(own_folder / "shop", settings.database(primary), **named)) as shop:
        server = shop.server
        [well] = reported(server)[about]
        assert (well["state"], well["round_trip_ms"] > 0) == ("green", True)
        [wrong] = reported(server, RCOMMERCE_NOTIFICATIONS__EMAIL__SMTP_PASS="guessed")[about]
        assert (wrong["state"], "535" in wrong["message"]) == ("red", True), wrong
        [stranger] = reported(server, SSL_CERT_FILE="/dev/null")[about]
        assert (stranger["state"], "certificate" in stranger["message"]) == ("red", True)
        assert got == []  # the doctor sends nothing
        who = {"email": "ada@example.com", "password": "correct horse battery",
               "first_name": "Ada", "last_name": "Lovelace"}  # fmt: skip
        shop.guest.post("/auth/register", who, 201)
        shop.guest.post("/auth/password-reset", {"email": who["email"]}, 202)
        eventually(lambda: got)
        assert got[0]["To"] == who["email"]
        assert "token=" in got[0].get_payload()


def test_what_is_away_is_told_with_what_that_means(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    primary = started(Postgres(own_folder / "primary", settings=FAST))
    nobody = f"http://127.0.0.1:{free_port()}"
    named = {
        "RCOMMERCE_CACHE__ENABLED": "true",
        "RCOMMERCE_CDN__PROVIDER": "Varnish",
        "RCOMMERCE_CDN__VARNISH_URLS": nobody,
        "RCOMMERCE_TELEMETRY__OTLP_ENDPOINT": nobody,
        "RCOMMERCE_CACHE__CACHE_TYPE": "Redis",
        "RCOMMERCE_CACHE__REDIS_URL": nobody.replace("http", "redis"),
    }
    server = server_for(own_folder / "shop", settings.database(primary), **named)
    assert server.command("db", "upgrade").returncode == 0
    found = reported(server)
    assert states(found["CDN Varnish"]) == ["red"]
    assert states(found[f"traces {nobody}/v1/traces"]) == ["yellow"]
    assert states(found[f"Redis {nobody.removeprefix('http://')}"]) == ["red"]
    assert states(found["instances"]) == ["green"]
    with shop_on(server):

        def says_what_it_lacks() -> bool:
            return any(
                "circuit breaker open" in each["message"]
                for name, findings in reported(server).items()
                for each in findings
                if name.startswith("instance ")
            )

        eventually(says_what_it_lacks, timeout_s=20)
        assert states(reported(server)["settings"]) == ["green"]
        found = reported(server, RCOMMERCE_CHECKOUT__CART_TTL_DAYS="3")
        assert "checkout.cart_ttl_days" in found["settings"][0]["message"]
    strict = server.command("doctor", "--strict", RCOMMERCE_CDN__PROVIDER="None")
    assert strict.returncode == 1
