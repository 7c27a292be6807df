"""Tenants on shards: their default place, a shard that is down, and moves under load."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from conftest import Api, Running, api_key, eventually
from rcommerce.lab import settings
from rcommerce.lab.ledger import Buyers
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from topology.conftest import (
    FAST,
    count_statements,
    product_reads,
    server_for,
    shop_on,
)

SHARDS = 4


@dataclass
class Tenant:
    """A shop of the installation, with its callers."""

    id: str
    slug: str
    shard: str
    guest: Api
    staff: Api

    def product(self, stock: int = 100_000) -> dict[str, Any]:
        body = {
            "title": f"Product {uuid4().hex[:12]}",
            "status": "active",
            "price": "20.00",
            "inventory_quantity": stock,
        }
        made: dict[str, Any] = self.staff.post("/products", body)["product"]
        return made


@dataclass
class Sharded:
    """An installation on a control database and four shards, each a server of its own."""

    shop: Running
    control: Postgres
    shards: dict[str, Postgres]

    @property
    def server(self) -> Server:
        return self.shop.server

    def tenant(self, shard: str | None = None) -> Tenant:
        """A new tenant, on the given shard."""
        for _ in range(200):
            slug = f"t{uuid4().hex[:10]}"
            made = self.server.command("tenant", "create", slug, "--json")
            assert made.returncode == 0, made.stderr
            found = json.loads(made.stdout)
            if shard in (None, found["shard"]):
                key = api_key(self.server, "--all", "--tenant", slug)
                guest = self.shop.guest.by(X_Tenant_ID=found["id"])
                staff = self.shop.guest.by(Authorization=f"Bearer {key}")
                return Tenant(found["id"], slug, found["shard"], guest, staff)
        raise AssertionError("no tenant came to the shard")

    def orders(self, tenant: Tenant, shard: str) -> set[str]:
        """The ids of a tenant's orders on a shard."""
        rows = self.shards[shard].query(
            "select id from sales_order where tenant_id = %s", tenant.id
        )
        return {str(row[0]) for row in rows}

    def assignment(self, tenant: Tenant) -> str:
        """The shard that it lives on now."""
        found = "select shard from tenant_directory where tenant_id = %s"
        return str(self.control.query(found, tenant.id)[0][0])

    def move(self, tenant: Tenant, to: str, *more: str) -> dict[str, Any]:
        done = self.server.command(
            "tenant", "move", tenant.slug, "--to", to, "--drop-after", "1", "--json", *more
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def other(self, tenant: Tenant) -> str:
        assignment = self.assignment(tenant)
        return next(name for name in sorted(self.shards) if name != assignment)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharded]:
    folder = tmp_path_factory.mktemp("sharded")
    servers: list[Postgres] = []
    try:
        for name in ("control", *(f"shard-{number}" for number in range(SHARDS))):
            servers.append(Postgres(folder / name, settings=FAST))
        with ThreadPoolExecutor() as all_at_once:
            list(all_at_once.map(Postgres.start, servers))
        control, *rest = servers
        shards = {f"shard-{number}": server for number, server in enumerate(rest)}
        database = settings.database(
            control, shards=[settings.shard(name, server) for name, server in shards.items()]
        )
        with shop_on(server_for(folder / "shop", database)) as shop:
            yield Sharded(shop, control, shards)
    finally:
        for server in servers:
            server.kill()


def test_a_tenant_comes_to_the_shard_of_its_id(sharded: Sharded) -> None:
    for _ in range(3):
        tenant = sharded.tenant()
        assert tenant.shard == f"shard-{UUID(tenant.id).int % SHARDS}"
        product = tenant.product()
        held = [
            name
            for name, server in sharded.shards.items()
            if server.query("select 1 from product where id = %s", product["id"])
        ]
        assert held == [tenant.shard]
    assert sharded.control.query("select count(*) from product") == [(0,)]


def test_a_move_under_load_loses_nothing(sharded: Sharded) -> None:
    tenant = sharded.tenant()
    product = tenant.product()
    target = sharded.other(tenant)
    with Buyers(lambda: sharded.server.url, product, headers={"X-Tenant-ID": tenant.id}) as buyers:
        buyers.await_orders(100)
        done = sharded.move(tenant, target)
        buyers.await_orders(100)
    ledger = buyers.ledger
    assert ledger.faults == []
    assert sharded.assignment(tenant) == target
    there = sharded.orders(tenant, target)
    assert set(ledger.acknowledged) - there == set()
    assert len(there) == len(ledger.acknowledged)  # and nothing twice
    assert sharded.orders(tenant, tenant.shard) == set()
    assert done["pause_s"] > 0  # how long it may be: the drill tenant-move
    assert {each.status for each in ledger.attempts} <= {201, 503}
    stock = tenant.staff.get(f"/inventory/{product['variants'][0]['id']}")["levels"][0]
    assert stock["reserved"] == len(ledger.acknowledged)
    left = sharded.control.query("select count(*) from tenant_move")
    assert left == [(0,)]
    for server in (sharded.shards[tenant.shard], sharded.shards[target]):
        assert server.query("select 1 from pg_replication_slots", user="postgres") == []
        assert server.query("select 1 from pg_subscription", user="postgres") == []
        assert server.query("select 1 from pg_publication", user="postgres") == []
    # And back again, over what the first move has left.
    back = sharded.move(tenant, tenant.shard)
    assert back["verified_rows"] >= done["verified_rows"]
    assert sharded.orders(tenant, tenant.shard) == there


def started_move(sharded: Sharded, tenant: Tenant, to: str) -> subprocess.Popen[str]:
    arguments = ["tenant", "move", tenant.slug, "--to", to, "--drop-after", "1", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "rcommerce", *arguments],
        cwd=sharded.server.data_dir,
        env=sharded.server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )


def hear_ctrl_c() -> None:
    """A runner of tests may stand in the background, where Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def await_phase(sharded: Sharded, tenant: Tenant, phase: str, process: Any) -> bool:
    """Waits until a move is in this phase; False where it was over before that was seen."""
    deadline = time.monotonic() + 30
    with psycopg.connect(sharded.control.conninfo(), autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute(
                "select phase from tenant_move where tenant_id = %s", (tenant.id,)
            ).fetchone()
            if row == (phase,):
                return True
            if process.poll() is not None:
                assert process.returncode == 0, process.communicate()
                return False
    raise AssertionError(f"{phase} was never seen")


@pytest.mark.parametrize(
    ("phase", "how"),
    [
        ("prepare", signal.SIGKILL),
        ("copy", signal.SIGKILL),
        ("rehearse", signal.SIGINT),
        ("fence", signal.SIGINT),
        ("drain", signal.SIGKILL),
        ("verify", signal.SIGKILL),
        ("flip", signal.SIGKILL),
        ("publish", signal.SIGKILL),
        ("drop", signal.SIGKILL),
    ],
)
def test_a_move_that_is_cut_off_anywhere_goes_on_and_loses_nothing(
    sharded: Sharded, phase: str, how: signal.Signals
) -> None:
    tenant = sharded.tenant()
    product = tenant.product()
    with Buyers(lambda: sharded.server.url, product, headers={"X-Tenant-ID": tenant.id}) as buyers:
        buyers.await_orders(8)
        for _ in range(5):
            assignment, target = sharded.assignment(tenant), sharded.other(tenant)
            process = started_move(sharded, tenant, target)
            if await_phase(sharded, tenant, phase, process):
                break
        process.send_signal(how)
        process.communicate()
        # A fence runs out by itself: the shop sells on, wherever the move was cut off.
        buyers.await_orders(8)
        done = sharded.move(tenant, target)
        buyers.await_orders(8)
    assert done["phase"] == "done"
    assert buyers.ledger.faults == []
    assert sharded.assignment(tenant) == target
    there = sharded.orders(tenant, target)
    assert set(buyers.ledger.acknowledged) == there
    assert sharded.orders(tenant, assignment) == set()


def test_a_move_can_be_taken_back_until_it_has_flipped(sharded: Sharded) -> None:
    tenant = sharded.tenant()
    product = tenant.product()
    target = sharded.other(tenant)
    with Buyers(lambda: sharded.server.url, product, headers={"X-Tenant-ID": tenant.id}) as buyers:
        buyers.await_orders(8)
        process = started_move(sharded, tenant, target)
        assert await_phase(sharded, tenant, "rehearse", process)
        process.kill()
        process.communicate()
        elsewhere = next(n for n in sharded.shards if n not in (tenant.shard, target))
        refused = sharded.server.command("tenant", "move", tenant.slug, "--to", elsewhere)
        assert refused.returncode == 1
        assert "--abort" in refused.stderr
        undone = sharded.server.command("tenant", "move", tenant.slug, "--abort")
        assert undone.returncode == 0, undone.stderr
        buyers.await_orders(8)
    assert sharded.assignment(tenant) == tenant.shard
    assert sharded.orders(tenant, tenant.shard) == set(buyers.ledger.acknowledged)
    assert sharded.orders(tenant, target) == set()
    assert sharded.shards[target].query("select 1 from product where id = %s", product["id"]) == []
    again = sharded.server.command("tenant", "move", tenant.slug, "--abort")
    assert again.returncode == 1
    assert "no move" in again.stderr


def test_an_instance_with_an_old_map_cannot_write_to_the_shard_that_was_left(
    sharded: Sharded,
) -> None:
    tenant = sharded.tenant()
    tenant.product()
    old = sharded.shards[tenant.shard]
    target = sharded.other(tenant)
    sharded.move(tenant, target)
    # What an old map would ask for: the old shard, in the old epoch; or the new one in the old.
    for server, address in ((old, (target, "2")), (sharded.shards[target], ("", ""))):
        with pytest.raises(psycopg.Error) as refused:
            server.query("select enter_tenant(%s, 1)", tenant.id)
        assert refused.value.sqlstate == "RC001"
        diagnosis = refused.value.diag
        assert (diagnosis.message_detail or "", diagnosis.message_hint or "") == address
    # An instance whose directory is of yesterday follows the forwarding address.
    sharded.control.query(
        "update tenant_directory set shard = %s, epoch = 1, changed_at = now()"
        " where tenant_id = %s",
        tenant.shard,
        tenant.id,
    )
    time.sleep(2.5)  # until every process has heard it
    cart = tenant.guest.post("/carts/guest")["cart"]
    assert sharded.shards[target].query("select 1 from cart where id = %s", cart["id"])
    assert old.query("select 1 from cart where id = %s", cart["id"]) == []
    sharded.control.query(
        "update tenant_directory set shard = %s, epoch = 2, changed_at = now()"
        " where tenant_id = %s",
        target,
        tenant.id,
    )


def test_a_token_from_before_a_move_still_shows_what_was_written(sharded: Sharded) -> None:
    tenant = sharded.tenant()
    product = tenant.product()
    path = f"/products/{product['id']}"
    token = tenant.staff("PATCH", path, {"title": "Moved"}, 200).headers["x-consistency-token"]
    sharded.move(tenant, sharded.other(tenant))
    assert tenant.guest.get(path, X_Consistency_Token=token)["product"]["title"] == "Moved"
    newer = tenant.staff("PATCH", path, {"title": "Again"}, 200).headers["x-consistency-token"]
    assert tenant.guest.get(path, X_Consistency_Token=newer)["product"]["title"] == "Again"


def test_a_shard_has_replicas_of_its_own_and_a_move_keeps_what_a_token_says(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    names = ("control", "shard-0", "shard-1")
    control, *rest = [started(Postgres(own_folder / name, settings=FAST)) for name in names]
    for each in rest:
        count_statements(each)
    replicas = [started(each.replica(own_folder / f"{each.folder.name}-replica")) for each in rest]
    shards = [
        settings.shard(name, primary, [replica])
        for name, primary, replica in zip(names[1:], rest, replicas, strict=True)
    ]
    with shop_on(
        server_for(own_folder / "shop", settings.database(control, shards=shards))
    ) as shop:
        sharded = Sharded(shop, control, dict(zip(names[1:], rest, strict=True)))
        tenant = sharded.tenant("shard-0")
        path = f"/products/{tenant.product()['id']}"
        before = [product_reads(each) for each in (rest[0], replicas[0])]
        for _ in range(100):
            assert tenant.guest("GET", path).status_code == 200
        after = [product_reads(each) for each in (rest[0], replicas[0])]
        assert after[0] - before[0] < 10
        assert after[1] - before[1] >= 100
        for each in replicas:
            each.configure({"recovery_min_apply_delay": "1s"})
        for assignment in ("shard-0", "shard-1"):
            written = tenant.staff("PATCH", path, {"title": f"Sold on {assignment}"})
            marked = tenant.guest.by(X_Consistency_Token=written.headers["x-consistency-token"])
            assert marked.get(path)["product"]["title"] == f"Sold on {assignment}"
            assert tenant.guest.get(path)["product"]["title"] != f"Sold on {assignment}"
            if assignment == "shard-0":
                sharded.move(tenant, "shard-1")
                eventually(lambda: sharded.assignment(tenant) == "shard-1")
            # The new shard's replica may be behind the copy; the token of the old one still holds.
            assert marked.get(path)["product"]["title"] == f"Sold on {assignment}"


def test_a_shard_that_is_down_takes_down_its_own_tenants_alone(sharded: Sharded) -> None:
    mine = sharded.tenant()
    theirs = sharded.tenant()
    while theirs.shard == mine.shard:
        theirs = sharded.tenant()
    product = theirs.product()
    mine.product()

    def use_theirs() -> None:
        for _ in range(20):
            theirs.guest("GET", f"/products/{product['id']}", expect=200)
            theirs.guest("POST", "/carts/guest", {}, expect=201)

    for how in ("kill", "freeze"):
        server = sharded.shards[mine.shard]
        (server.kill if how == "kill" else server.process.freeze)()
        try:
            statuses = set()
            begun = time.monotonic()
            while time.monotonic() - begun < 5:
                answer = mine.guest("POST", "/carts/guest", {})
                statuses.add(answer.status_code)
                theirs.guest("POST", "/carts/guest", {}, expect=201)
            assert statuses == {503}, how
            assert mine.guest("GET", "/products").status_code == 503
            use_theirs()
        finally:
            if how == "kill":
                server.start()
            else:
                server.process.thaw()
        eventually(lambda: mine.guest("POST", "/carts/guest", {}).status_code == 201)


def test_without_the_control_database_known_shops_sell_on(sharded: Sharded) -> None:
    tenant = sharded.tenant()
    tenant.product()
    tenant.guest("POST", "/carts/guest", {}, expect=201)
    sharded.control.kill()
    try:
        begun = time.monotonic()
        while time.monotonic() - begun < 8:  # longer than a shop is remembered by itself
            tenant.guest("GET", "/products", expect=200)
            tenant.guest("POST", "/carts/guest", {}, expect=201)
        unknown = sharded.shop.guest.by(X_Tenant_ID=str(uuid4()))
        assert unknown("GET", "/products").status_code == 503
    finally:
        sharded.control.start()
    eventually(lambda: tenant.staff("GET", "/orders").status_code == 200)


def test_a_suspended_shop_is_closed_within_seconds_and_opened_again(sharded: Sharded) -> None:
    tenant = sharded.tenant()
    tenant.guest("GET", "/products", expect=200)
    assert sharded.server.command("tenant", "suspend", tenant.slug).returncode == 0
    eventually(lambda: tenant.guest("GET", "/products").status_code == 403, 4)
    assert sharded.server.command("tenant", "resume", tenant.slug).returncode == 0
    eventually(lambda: tenant.guest("GET", "/products").status_code == 200, 4)
    listed = json.loads(sharded.server.command("tenant", "list", "--json").stdout)["tenants"]
    assert {"slug": tenant.slug, "status": "active"}.items() <= next(
        each for each in listed if each["id"] == tenant.id
    ).items()


def test_migrations_go_over_every_shard_and_go_on_after_a_failure(sharded: Sharded) -> None:
    reports = json.loads(sharded.server.command("db", "upgrade", "--json").stdout)["databases"]
    assert [each["name"] for each in reports] == ["main", *sharded.shards]
    down = sharded.shards["shard-2"]
    down.kill()
    try:
        failed = sharded.server.command("db", "upgrade", "--json")
        assert failed.returncode == 1
        reports = json.loads(failed.stdout)["databases"]
        assert [each["name"] for each in reports if each["error"]] == ["shard-2"]
    finally:
        down.start()
    assert sharded.server.command("db", "upgrade").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody", "--to", "shard-1"], "no tenant nobody"),
        (["default", "--to", "shard-9"], "no shard shard-9"),
        (["default"], "--to SHARD or --abort"),
    ],
)
def test_a_move_that_cannot_be_says_why(sharded: Sharded, arguments: list[str], words: str) -> None:
    done = sharded.server.command("tenant", "move", *arguments)
    assert done.returncode != 0
    assert words in done.stderr
