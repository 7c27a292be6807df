"""Fixtures: a real server on an embedded PostgreSQL, in a folder of its own, for the session."""

import contextlib
import io
import json
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, ClassVar, cast
from uuid import uuid4

import certifi
import httpx
import psycopg
import pytest
from PIL import Image
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

import commands
from documented import undocumented
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.errors import StartError
from rcommerce.lab import ledger, pgbouncer, settings
from rcommerce.lab.ledger import ADDRESS
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.seaweedfs import SeaweedFS
from rcommerce.lab.server import Server
from rcommerce.lab.valkey import Cluster
from rcommerce.lab.worker import Worker

# Nothing here speaks TLS over HTTP; to read all authorities would cost each call of httpx 30 ms.
# One is enough for libraries that do not start without any.
AUTHORITY = tempfile.NamedTemporaryFile(  # noqa: SIM115 - until the process ends
    "w", prefix="rcommerce-test-authority-", suffix=".pem"
)
END = "-----END CERTIFICATE-----\n"
AUTHORITY.write(Path(certifi.where()).read_text().partition(END)[0] + END)
AUTHORITY.flush()
os.environ["SSL_CERT_FILE"] = AUTHORITY.name
os.environ.pop("SSL_CERT_DIR", None)

commands.install()
ledger.PAUSE_S = 0.1  # between two orders of a buyer: other tests run beside
# A connection a request, and no cookies, like `httpx.request`, at half of its cost.
CLIENT = httpx.Client(
    timeout=60,
    limits=httpx.Limits(max_keepalive_connections=0),
    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
)
PROPAGATION_S = 0.25  # docs/caching.md
SETTINGS = {
    "RCOMMERCE_CHECKOUT__SWEEP_INTERVAL_SECS": "1",
    "RCOMMERCE_LOGGING__FORMAT": "Json",
    "RCOMMERCE_DATABASE__DB_TYPE": "Embedded",
    "RCOMMERCE_DATABASE__POOL_SIZE": "40",
    "RCOMMERCE_WEBHOOKS__ALLOW_HTTP": "true",
    "RCOMMERCE_WEBHOOKS__ALLOWED_NETWORKS": "127.0.0.1/32",
    # All tests come from one address.
    "RCOMMERCE_RATE_LIMITING__LOGINS_PER_ADDRESS_PER_MINUTE": "100000",
    "RCOMMERCE_RATE_LIMITING__GIFT_CARDS_PER_ADDRESS_PER_MINUTE": "100000",
    "RCOMMERCE_RATE_LIMITING__PASSWORD_RESETS_PER_ADDRESS_PER_HOUR": "100000",
}


@dataclass
class Api:
    """The API as a client of a shop sees it, by one caller."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    is_keyed: bool = False  # whether each POST gets an Idempotency-Key
    old_s: float = PROPAGATION_S  # what everybody sees is this old at the most
    written_at: ClassVar[float] = 0.0  # when any of them has written last

    def __call__(
        self, method: str, path: str, body: Any = None, expect: int | None = None, **headers: str
    ) -> httpx.Response:
        """One request; fails the test where the status is not the one that is expected."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "GET" and "Authorization" not in {**self.headers, **named}:
            # Who has no token may see what everybody sees.
            time.sleep(max(0.0, Api.written_at + self.old_s - time.monotonic()))
        given = {**self.headers, **named}
        if method == "POST" and self.is_keyed:
            given.setdefault("Idempotency-Key", str(uuid4()))
        response = CLIENT.request(method, f"{self.url}/api/v1{path}", json=body, headers=given)
        if "x-consistency-token" in response.headers:
            Api.written_at = time.monotonic()
        if expect is not None:
            assert response.status_code == expect, f"{method} {path}: {response.text[:1000]}"
        missing = undocumented(method, f"/api/v1{path}", response)
        assert not missing, missing
        return response

    def get(self, path: str, expect: int = 200, **headers: str) -> Any:
        """The JSON of a GET."""
        return self("GET", path, expect=expect, **headers).json()

    def post(self, path: str, body: Any = None, expect: int = 201, **headers: str) -> Any:
        """The JSON of a POST."""
        answer = self("POST", path, {} if body is None else body, expect, **headers)
        return answer.json() if answer.content else None

    def by(self, **headers: str) -> "Api":
        """The same shop, with other headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Api(self.url, {**self.headers, **named}, self.is_keyed, self.old_s)


@dataclass
class Running:
    """A server, and who may do everything in its default shop."""

    server: Server
    guest: Api
    staff: Api
    dsn: str  # of the database in which the default shop lives, with no pooler between
    control_dsn: str  # of the control database

    def query(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows from the shop's database itself."""
        return self._query(self.dsn, sql, params)

    def control(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows from the control database, where the test gateway keeps its books."""
        return self._query(self.control_dsn, sql, params)

    def _query(self, dsn: str, sql: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with psycopg.connect(dsn, autocommit=True) as connection:
            cursor = connection.execute(sql, params)
            return list(cursor.fetchall()) if cursor.description else []

    def product(self, stock: int = 100, price: str = "20.00", **fields: Any) -> dict[str, Any]:
        """A new active product with one variant."""
        body = {
            "title": f"Product {uuid4().hex[:12]}",
            "status": "active",
            "price": price,
            "inventory_quantity": stock,
            **fields,
        }
        made: dict[str, Any] = self.staff.post("/products", body)["product"]
        return made

    def cart(self, *lines: tuple[dict[str, Any], int]) -> tuple[str, Api]:
        """A guest's cart with some products: its id, and who may open it."""
        cart = self.guest.post("/carts/guest")["cart"]
        shopper = self.guest.by(X_Cart_Token=cart["session_token"])
        for product, quantity in lines:
            line = {
                "product_id": product["id"],
                "variant_id": product["variants"][0]["id"],
                "quantity": quantity,
            }
            shopper.post(f"/carts/{cart['id']}/items", line)
        return cart["id"], shopper

    def stock(self, product: dict[str, Any]) -> tuple[int, int]:
        """(on_hand, reserved) of the product's first variant, at all locations."""
        variant = product["variants"][0]["id"]
        levels = self.staff.get(f"/inventory/{variant}")["levels"]
        return sum(each["on_hand"] for each in levels), sum(each["reserved"] for each in levels)


def picture(kind: str = "JPEG", size: tuple[int, int] = (800, 600)) -> bytes:
    """A picture that nobody has uploaded yet."""
    file = io.BytesIO()
    color = tuple(uuid4().bytes[:3])
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def eventually(check: Callable[[], object], timeout_s: float = 15.0, every_s: float = 0.05) -> None:
    """Waits until `check` is true, or stops raising. Fails with its last word."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if check():
                return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(every_s)


def completion(cart: str, token: str = "tok_approve", **fields: Any) -> dict[str, Any]:
    """The body of /checkout/complete, paid through the test gateway."""
    return {
        "cart_id": cart,
        "shipping_address": ADDRESS,
        "payment_method": {"type": "card", "gateway_id": "test", "token": token},
        "customer_email": "ada@example.com",
        **fields,
    }


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder for the session's servers, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="rcommerce-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def api_key(server: Server, *arguments: str) -> str:
    """A new API key, by the command."""
    made = server.command("apikey", "create", *arguments, "--json")
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["key"])


def running(
    server: Server, dsn: str | None = None, control: str | None = None, *, is_keyed: bool = False
) -> Running:
    """A started server with its callers; whether they send each POST with an Idempotency-Key."""
    is_cached = server.settings.get("RCOMMERCE_CACHE__ENABLED") != "false"
    guest = Api(server.url, is_keyed=is_keyed, old_s=PROPAGATION_S if is_cached else 0.0)
    key = api_key(server, "--all")
    found = dsn or EmbeddedPostgres(server.data_dir / "postgres").conninfo
    staff = guest.by(Authorization=f"Bearer {key}")
    return Running(server, guest, staff, found, control or found)


def other_shop(shop: Running, currency: str = "EUR") -> tuple[Api, Api]:
    """(guest, staff) of a new tenant of the same installation."""
    slug = f"t{uuid4().hex[:10]}"
    made = shop.server.command("tenant", "create", slug, "--currency", currency, "--json")
    assert made.returncode == 0, made.stderr
    guest = shop.guest.by(X_Tenant_ID=json.loads(made.stdout)["id"])
    key = api_key(shop.server, "--all", "--tenant", slug)
    return guest, shop.guest.by(Authorization=f"Bearer {key}")


@pytest.fixture(scope="session")
def embedded_shop(folder: Path) -> Iterator[Running]:
    """A laptop's server, with two workers."""
    with Server(folder / "shop", workers=2, settings=SETTINGS) as server:
        yield running(server)


@dataclass
class Fleet:
    """A shop on a control database and two servers with two shards each, through PgBouncer, with
    a Valkey Cluster, an S3 server and a worker."""

    shop: Running
    databases: list[str]  # the connection strings of all databases, as their superuser
    valkey: Cluster
    s3: SeaweedFS


@pytest.fixture(scope="session")
def fleet(folder: Path) -> Iterator[Fleet]:
    """The session's fleet."""
    try:
        pgbouncer.program()
    except StartError as error:
        pytest.skip(str(error))
    with contextlib.ExitStack() as stack:
        yield start_fleet(folder / "fleet", stack)


@pytest.fixture(scope="session", params=["embedded_shop", "fleet"])
def shop(request: pytest.FixtureRequest) -> Running:
    """Both: what holds for one has to hold for the other. Each POST is sent once without and once
    with an Idempotency-Key: the fleet's callers use them."""
    found = request.getfixturevalue(request.param)
    return found.shop if isinstance(found, Fleet) else cast(Running, found)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The order of tests."""
    parser.addoption(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="run files, and the tests of each, in another order",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that whoever is free has something to do until the end;
    of the fleet's, what looks back at everything that the tests have sent comes last."""
    seed = config.getoption("shuffle")
    if seed is not None:
        shuffle(items, random.Random(seed))

    def turn(item: pytest.Item) -> tuple[bool, int]:
        scope = scope_of(item.nodeid)
        first = next((n for n, each in enumerate(LONGEST) if each in scope), len(LONGEST))
        return "test_statements" in item.nodeid, first

    items.sort(key=turn)


def shuffle(items: list[pytest.Item], order: random.Random) -> None:
    """Another order of the files, and of the tests of each; but the drills take from their fleet
    what protects it, and do not give it back."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    names = sorted(files)
    order.shuffle(names)
    for name in names:
        if "drills" not in name.parts:
            order.shuffle(files[name])
    items[:] = [item for name in names for item in files[name]]


# Of the scopes, those that take minutes.
LONGEST = (
    "drills/", "fleet", "embedded_shop", "topology/test_shards", "topology/test_lab",
    "topology/test_lifecycle", "topology/", "test_deploy_check",
)  # fmt: skip


def scope_of(nodeid: str) -> str:
    """What runs in one process: the tests on the session's laptop, those on its fleet, each file
    of the rest."""
    if "[embedded_shop" in nodeid:
        return "embedded_shop"
    return _server_of(nodeid.partition("::")[0])


class Shares(LoadScopeScheduling):  # type: ignore[misc] # untyped
    """Some processes share the tests (`make test`), one scope after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@cache
def _server_of(file: str) -> str:
    """Which of the session's servers its tests are on; the file itself for those on none."""
    if "/integration/" in file:
        text = (Path(__file__).parent.parent / file).read_text()
        if re.search(r"\b(?:shop|fleet): (?:Running|Fleet)\b", text):
            return "fleet"
        if "embedded_shop: Running" in text:
            return "embedded_shop"
    return file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares:
    """As the plugin asks, where the tests are shared out at all."""
    return Shares(config, log)


def start_fleet(folder: Path, stack: contextlib.ExitStack) -> Fleet:
    """Starts it; it ends with the stack."""
    counted = {
        "fsync": "off",
        "shared_preload_libraries": "pg_stat_statements",
        "pg_stat_statements.track": "all",
        "pg_stat_statements.max": "60000",
    }
    servers = [Postgres(folder / name, settings=counted) for name in ("control", "one", "two")]
    valkey = Cluster(folder / "valkey")
    s3 = SeaweedFS(folder / "s3")
    with ThreadPoolExecutor() as all_at_once:
        list(all_at_once.map(stack.enter_context, [*servers, valkey, s3]))
    control, one, two = servers
    places = {"shard-0": one, "shard-1": two, "shard-2": one, "shard-3": two}
    databases = [control.conninfo("postgres")]
    for name, server in places.items():
        server.query(f'create database "{name}" owner rcommerce', user="postgres")
        databases.append(server.conninfo("postgres", name))
    for dsn in databases:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("create extension pg_stat_statements")
    behind = {"rcommerce": (control, "rcommerce")}
    behind |= {name: (server, name) for name, server in places.items()}
    pooler = stack.enter_context(pgbouncer.PgBouncer(folder / "pgbouncer", behind))
    shards = [
        {
            "name": name,
            "database": name,
            "hosts": [pooler.address],
            "direct_hosts": [server.address],
        }
        for name, server in places.items()
    ]
    database = settings.database(pooler, direct=control, shards=shards)
    given = {**SETTINGS, **database, **settings.redis(valkey), **s3.settings}
    shop = Server(folder / "shop", workers=2, settings=given)
    upgraded = shop.command("db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stdout + upgraded.stderr
    stack.enter_context(shop)
    stack.enter_context(Worker(shop))
    shown = shop.command("tenant", "show", "default", "--json")
    assignment = json.loads(shown.stdout)["shard"]
    # As another user than the shop's: the shop's statements are told apart by it.
    dsn = places[assignment].conninfo("postgres", assignment)
    found = running(shop, dsn, control.conninfo("postgres"), is_keyed=True)
    return Fleet(found, databases, valkey, s3)


@pytest.fixture
def own_shop(tmp_path: Path) -> Iterator[Running]:
    """A server for one test alone, which may kill it."""
    path = Path(tempfile.mkdtemp(prefix="rcommerce-test-"))
    server = Server(path, settings=SETTINGS)
    try:
        with EmbeddedPostgres(path / "postgres"):  # it outlives the server
            server.start()
            yield running(server)
            server.kill()
    finally:
        server.kill()
        shutil.rmtree(path, ignore_errors=True)
