"""The commands, as a user types them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from conftest import SETTINGS, Running, api_key, other_shop, running
from rcommerce.cli import demo
from rcommerce.database import migrate
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.lab.server import Server
from rcommerce.settings import load

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture
def new_folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="rcommerce-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_a_demo_shop_has_a_sign_in_that_stays_the_same(embedded_shop: Running) -> None:
    shop = embedded_shop
    shop.product()  # a shop with products gets no others
    settings = load(None, shop.server.environment).settings
    path = settings.data_dir / "demo.json"
    first = demo.ensure(settings).sign_in
    assert first is not None
    assert demo.ensure(settings).sign_in == first
    assert path.stat().st_mode & 0o777 == 0o600

    def signs_in(made: demo.SignIn, email_and_password: int, api_key: int) -> None:
        login = {"email": made.email, "password": made.password}
        shop.guest("POST", "/auth/login", login, expect=email_and_password)
        headers = {"Authorization": f"Bearer {made.api_key}"}
        assert httpx.get(f"{shop.guest.url}/ops/state", headers=headers).status_code == api_key

    signs_in(first, 200, 200)
    # The file is lost, or the key was revoked: another sign-in takes its place.
    path.unlink()
    second = demo.ensure(settings).sign_in
    assert second is not None
    shop.server.command("apikey", "revoke", second.api_key[3:11])
    third = demo.ensure(settings).sign_in
    assert third is not None
    signs_in(first, 401, 200)
    signs_in(second, 401, 401)
    signs_in(third, 200, 200)


def test_demo_products_are_the_same_for_the_same_number(shop: Running) -> None:
    guest, staff = other_shop(shop)
    staff.post("/categories", {"name": "Home"})  # a shop may have such a one already
    tenant = guest.headers["X-Tenant-ID"]

    def load(products: int) -> int:
        done = shop.server.command(
            "demo", "load", "--products", str(products), "--tenant", tenant, "--json"
        )
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["made"])

    assert (load(50), load(60)) == (50, 10)
    titles = [each["title"] for each in guest.get("/products?per_page=100")["products"]]
    assert len(titles) == len(set(titles)) == 60


def test_api_keys_are_listed_and_revoked(shop: Running) -> None:
    key = api_key(shop.server, "--scope", "products:read")
    prefix = key.removeprefix("ak_").partition(".")[0]
    holder = shop.guest.by(Authorization=f"Bearer {key}")
    holder("GET", "/products", expect=200)
    listed = json.loads(shop.server.command("apikey", "list", "--json").stdout)["keys"]
    assert prefix in {each["prefix"] for each in listed}
    assert shop.server.command("apikey", "revoke", prefix).returncode == 0
    holder("GET", "/products", expect=401)


def test_a_tenant_is_made_shown_suspended_and_resumed(shop: Running) -> None:
    slug = f"t{uuid4().hex[:10]}"
    made = json.loads(shop.server.command("tenant", "create", slug, "--json").stdout)
    again = shop.server.command("tenant", "create", slug)
    assert (again.returncode, "already" in again.stderr) == (1, True)
    for state in ("suspend", "resume"):
        assert shop.server.command("tenant", state, slug).returncode == 0
    shown = json.loads(shop.server.command("tenant", "show", slug, "--json").stdout)
    assert (shown["id"], shown["status"], shown["placement"]) == (made["id"], "active", "active")
    shards = json.loads(shop.server.command("shard", "list", "--json").stdout)["shards"]
    assignment = next(each for each in shards if each["name"] == shown["shard"])
    assert assignment["state"] == "up"
    assert assignment["tenants"] >= 1
    for command in (["tenant", "show", slug], ["tenant", "list"], ["shard", "list"]):
        assert shop.server.command(*command).returncode == 0


def test_wrong_settings_end_a_command_with_one_line(shop: Running) -> None:
    environment = {**shop.server.environment, "RCOMMERCE_SERVER__PROT": "1"}
    command = [sys.executable, "-m", "rcommerce", "config", "show"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "server.port" in done.stderr


def test_config_show_masks_secrets_and_names_origins(shop: Running) -> None:
    environment = {**shop.server.environment, "RCOMMERCE_SECURITY__JWT__SECRET": "s" * 40}
    command = [sys.executable, "-m", "rcommerce", "config", "show", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "s" * 40 not in done.stdout
    rows = json.loads(done.stdout)
    assert rows["security.jwt.secret"]["origin"] == "environment RCOMMERCE_SECURITY__JWT__SECRET"


def test_a_port_that_is_taken_is_said_before_anything_starts(shop: Running) -> None:
    done = shop.server.command("serve", "--port", str(shop.server.port))
    assert done.returncode == 1
    assert "--port" in done.stderr


def test_a_second_server_joins_the_database_and_the_last_to_leave_stops_it(
    new_folder: Path,
) -> None:
    first = Server(new_folder, settings=SETTINGS)
    second = Server(new_folder, settings=SETTINGS)
    postmaster = new_folder / "postgres" / "cluster" / "postmaster.pid"
    with first:
        shop = running(first)
        product = shop.product()
        with second:
            pid = postmaster.read_text().split()[0]
            assert httpx.get(f"{second.url}/api/v1/products/{product['id']}").status_code == 200
            assert first.stop() == 0
            assert postmaster.read_text().split()[0] == pid
            assert httpx.get(f"{second.url}/api/v1/products/{product['id']}").status_code == 200
    assert not postmaster.exists()
    with first:  # kept between runs
        assert httpx.get(f"{first.url}/api/v1/products/{product['id']}").status_code == 200
        first.kill()  # a crash leaves PostgreSQL running, and the next one takes it over
        pid = postmaster.read_text().split()[0]
        first.start()
        assert postmaster.read_text().split()[0] == pid
    assert not postmaster.exists()


def test_a_killed_database_starts_again(new_folder: Path) -> None:
    with EmbeddedPostgres(new_folder / "postgres") as server:
        pid = int((server.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
            if Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z":
                break
            time.sleep(0.05)
    with Server(new_folder, settings=SETTINGS) as started:
        assert httpx.get(f"{started.url}/health/ready").status_code == 200


def test_a_plain_user_has_a_database_as_well_as_root(new_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; this run is a plain user's already")
    with EmbeddedPostgres(new_folder / "roots"):
        assert (new_folder / "roots" / "cluster").stat().st_uid != 0
    new_folder.chmod(0o777)
    child = os.fork()
    if child == 0:  # with all of Python loaded already: it may lie where the user cannot read
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        with EmbeddedPostgres(new_folder / "users") as server:
            mine = server.data.stat().st_uid == 65534
        os._exit(0 if mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_two_migrations_at_once_are_one(new_folder: Path) -> None:
    with EmbeddedPostgres(new_folder / "postgres"):
        server = Server(new_folder, settings=SETTINGS)
        command = [sys.executable, "-m", "rcommerce", "db", "upgrade", "--json"]
        running_ = [
            subprocess.Popen(command, env=server.environment, stdout=subprocess.PIPE)
            for _ in range(3)
        ]
        assert [process.wait(60) for process in running_] == [0, 0, 0]
        assert server.command("db", "current").returncode == 0


def test_a_migration_that_waits_for_another_keeps_no_transaction_open(new_folder: Path) -> None:
    """`create index concurrently` waits for the end of those that it sees."""
    with (
        EmbeddedPostgres(new_folder / "postgres") as own,
        psycopg.connect(own.conninfo) as other,
        ThreadPoolExecutor(1) as aside,
    ):
        other.execute("select pg_advisory_xact_lock(7261)")
        waiting = aside.submit(migrate.upgrade, own.conninfo)
        seen: set[object] = set()
        deadline = time.monotonic() + 20
        with psycopg.connect(own.conninfo, autocommit=True) as looking:
            while len(seen) < 3 and time.monotonic() < deadline:
                seen |= set(
                    looking.execute(
                        """
                        select xact_start from pg_stat_activity
                         where query ~ 'pg_try_advisory_xact_lock' and pid <> pg_backend_pid()
                           and xact_start is not null
                        """
                    )
                )
        other.rollback()
        assert waiting.result(60)[0] is None
        assert len(seen) >= 3


def test_a_database_of_ones_own_is_migrated_by_hand(new_folder: Path) -> None:
    with EmbeddedPostgres(new_folder / "postgres") as own:
        environment = {
            "RCOMMERCE_DATABASE__DB_TYPE": "Postgres",
            "RCOMMERCE_DATABASE__HOST": str(own.socket_folder),
            "RCOMMERCE_DATABASE__USERNAME": "postgres",
            "RCOMMERCE_SECURITY__JWT__SECRET": "x" * 32,
        }
        server = Server(new_folder / "instance", settings=environment)
        server.data_dir.mkdir()
        early = server.command("tenant", "list")
        assert early.returncode == 1
        assert "rcommerce db upgrade" in early.stderr
        assert server.command("db", "upgrade").returncode == 0
        with server:
            assert httpx.get(f"{server.url}/api/v1/products").json()["products"] == []
        assert not (server.data_dir / "postgres").exists()


def test_the_pages_and_the_document_need_no_network(shop: Running) -> None:
    page = httpx.get(f"{shop.server.url}/", headers={"Accept": "text/html"})
    assert "R Commerce" in page.text
    assert httpx.get(f"{shop.server.url}/").json()["name"] == "R Commerce API"
    docs = httpx.get(f"{shop.server.url}/docs")
    assert "http" not in docs.text.replace("http-equiv", "")
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "docs.js"):
        assert httpx.get(f"{shop.server.url}/docs/{name}").status_code == 200
    document = shop.guest.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    assert len(document["paths"]) > 45


def test_the_readmes_lines_walk_from_the_shelf_to_a_paid_order(shop: Running) -> None:
    shop.server.command("demo", "load", "--products", "200")
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text()
    block = readme.partition("<!-- walk")[2].partition("```sh\n")[2].partition("```")[0]
    block = block.replace("http://127.0.0.1:8080", shop.server.url)
    done = subprocess.run(["bash", "-eu"], input=block, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    order = json.loads(done.stdout[done.stdout.rindex('{"order":') :])["order"]
    assert (order["status"], order["payment_status"]) == ("confirmed", "paid")


def test_a_balancer_asks_with_http_1_0_and_no_host(shop: Running) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", shop.server.port)) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in connection.recv(1000)
