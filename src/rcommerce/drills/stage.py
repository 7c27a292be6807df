"""The fleet that drills break."""

import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from rcommerce.drills.outcome import NotHere
from rcommerce.errors import StartError
from rcommerce.lab.fleet import INSTANCES, Fleet
from rcommerce.lab.pgbouncer import PgBouncer
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.process import Part, Process
from rcommerce.lab.server import Server
from rcommerce.telemetry.overview import View

PRODUCTS = 1_000
HEAL_TIMEOUT_S = 60.0
# A drill sends more from one address than a client may.
ENVIRONMENT = {
    "RCOMMERCE_RATE_LIMITING__ENABLED": "false",
    "RCOMMERCE_SERVER__LIMITS__RATE_LIMIT_PER_MINUTE": "0",
    "RCOMMERCE_CHECKOUT__SWEEP_INTERVAL_SECS": "1",
    # Receivers of webhooks are on this machine.
    "RCOMMERCE_WEBHOOKS__ALLOW_HTTP": "true",
    "RCOMMERCE_WEBHOOKS__ALLOWED_NETWORKS": "127.0.0.1/32",
}


@dataclass(slots=True)
class Stage:
    """A running fleet. `tell` reports progress."""

    fleet: Fleet
    products: list[str]
    tell: Callable[[str], None]
    staff: httpx.Client

    @property
    def port(self) -> int:
        """Of nginx."""
        return int(self.fleet.url.rpartition(":")[2])

    @property
    def instances(self) -> list[Server]:
        """Those behind it."""
        found = [self.fleet.members[f"shop-{n}"].part for n in range(1, INSTANCES + 1)]
        return [each for each in found if isinstance(each, Server)]

    def restart(self, number: int, environment: Mapping[str, str]) -> None:
        """Restarts an instance, with additions to its environment. Raises StartError."""
        instance = self.instances[number - 1]
        instance.stop()
        instance.configure(environment)
        instance.start()

    def postgres(self, name: str = "primary") -> Postgres:
        """A database server. Raises StartError where there is no such one."""
        part = self.fleet.members[name].part
        if not isinstance(part, Postgres):
            raise StartError(f"{name} is no PostgreSQL")
        return part

    def pooler(self) -> PgBouncer:
        """The pooler. Raises NotHere if it is not installed."""
        member = self.fleet.members.get("pgbouncer")
        if member is None or not isinstance(member.part, PgBouncer):
            raise NotHere("it needs PgBouncer: apt-get install pgbouncer")
        return member.part

    def kill(self, *names: str) -> None:
        """Kills these parts, like a power failure."""
        for name in names:
            self.fleet.kill_part(name)

    def start(self, *names: str) -> None:
        """Starts them again. Raises StartError."""
        for name in names:
            self.fleet.start_part(name)

    def processes(self, kind: str) -> list[Process]:
        """The processes of parts whose names begin so, to freeze and thaw."""
        found = [
            member.part for name, member in self.fleet.members.items() if name.startswith(kind)
        ]
        return [each.process for each in found if isinstance(each, Part)]

    def product(self, stock: int) -> dict[str, Any]:
        """A new product of the default shop, with so many units of its one variant."""
        given = {
            "title": f"Drill {time.time_ns()}",
            "status": "active",
            "price": "10.00",
            "inventory_quantity": stock,
        }
        answer = self.staff.post("/api/v1/products", json=given)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()["product"]
        return made

    def cart(self) -> tuple[str, str]:
        """A guest's cart: its id, and what opens it."""
        answer = httpx.post(f"{self.fleet.url}/api/v1/carts/guest", json={}, timeout=30)
        answer.raise_for_status()
        cart = answer.json()["cart"]
        return str(cart["id"]), str(cart["session_token"])

    def view(self, number: int = 1) -> View:
        """The fleet view of an instance. Raises httpx.HTTPError."""
        answer = httpx.get(f"{self.instances[number - 1].url}/ops/state", timeout=10)
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=View)

    def heal(self) -> None:
        """Starts whatever is not running, and waits until every instance is healthy. Raises
        StartError."""
        for name, member in self.fleet.members.items():
            if member.part.pid is None:
                self.fleet.start_part(name)
        deadline = time.monotonic() + HEAL_TIMEOUT_S
        for each in self.instances:
            while (unwell := _unwell(each)) and time.monotonic() < deadline:
                time.sleep(0.1)
            if unwell:
                raise StartError(f"{each.url} is not well again: {unwell}")


def _unwell(server: Server) -> str:
    try:
        reported = httpx.get(f"{server.url}/health/ready", timeout=5).json()
    except (httpx.HTTPError, ValueError) as error:
        return str(error) or type(error).__name__
    return ", ".join(
        f"{name} is {each['state']} ({each.get('cause') or 'no cause is known'})"
        for name, each in reported["dependencies"].items()
        if each["state"] != "up"
    )


@contextlib.contextmanager
def stage(
    tell: Callable[[str], None], environment: Mapping[str, str] | None = None
) -> Iterator[Stage]:
    """A fleet in a temporary folder, which is removed at the end. `environment` is for its
    instances. Raises StartError."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="rcommerce-drill-"))
    folder.chmod(0o755)
    both = {**ENVIRONMENT, **(environment or {})}
    fleet = Fleet(folder, "fleet", products=PRODUCTS, tell=tell, environment=both, ports={})
    try:
        fleet.start()
        key = json.loads(fleet.command("apikey", "create", "--all", "--json"))["key"]
        with httpx.Client(
            base_url=fleet.url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        ) as staff:
            made = Stage(fleet, [], tell, staff)
            rows = made.postgres().query("select id from product where status = 'active'")
            made.products += [str(row[0]) for row in rows]
            yield made
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends already
        fleet.kill()
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
