"""A whole fleet on one machine: its parts, and how they start and stop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from rcommerce.commerce.catalog import demo
from rcommerce.commerce.tenants import service as tenants
from rcommerce.errors import StartError
from rcommerce.lab.haproxy import HAProxy
from rcommerce.lab.nginx import Nginx
from rcommerce.lab.pgbouncer import PgBouncer
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.process import Part
from rcommerce.lab.prometheus import Prometheus
from rcommerce.lab.seaweedfs import SeaweedFS
from rcommerce.lab.server import Server
from rcommerce.lab.settings import SECRET
from rcommerce.lab.templates import rendered, without_pooler
from rcommerce.lab.valkey import MASTERS, Cluster
from rcommerce.lab.worker import Worker
from rcommerce.ports import free_port
from rcommerce.services import make_services
from rcommerce.settings import Settings, load

Profile = Literal["shop", "fleet"]
State = Literal["waiting", "starting", "running", "stopped", "dead"]
INSTANCES, SHARDS, REPLICAS = 3, 4, 2
TENANTS = ("acme", "globex", "initech", "umbrella", "hooli", "stark")  # beside the default one
# Preferred ports; if one is in use, any free one is taken.
PORTS = {
    "nginx": 8080,
    "haproxy": 8081,
    "shop-1": 8101,
    "shop-2": 8102,
    "shop-3": 8103,
    "primary": 15432,
    "replica-1": 15433,
    "replica-2": 15434,
    "shard-1": 15441,
    "shard-2": 15442,
    "shard-3": 15443,
    "shard-4": 15444,
    "pgbouncer": 16432,
    "valkey": 17001,
    "s3": 18333,
    "prometheus": 19090,
}
UP_AT_ONCE = 4
LAB = {"RCOMMERCE_FEATURES__OPS": "Open"}  # whoever started it may see everything


class Runs(Protocol):
    """The interface of a part."""

    @property
    def address(self) -> str: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def log(self) -> Path: ...
    def start(self) -> None: ...
    def stop(self) -> object: ...
    def kill(self) -> None: ...


P = TypeVar("P", bound=Runs)


@dataclass(slots=True)
class Member:
    """A part of the fleet. `wanted` is its intended state."""

    name: str
    about: str
    part: Runs
    wanted: State = "waiting"

    @property
    def state(self) -> State:
        """`dead`: it has ended by itself, or was killed."""
        if self.wanted == "running" and self.part.pid is None:
            return "dead"
        return self.wanted


class Fleet:
    """The parts of a profile in a folder. `tell` reports progress, a line at a time."""

    def __init__(
        self,
        folder: Path,
        profile: Profile,
        *,
        products: int,
        tell: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
        ports: Mapping[str, int] = PORTS,
    ) -> None:
        """`environment` is for instances and workers, beside their settings file. `ports` are used
        if they are free; otherwise any: two fleets that start at the same time must not choose the
        same."""
        self.folder = folder
        self.profile: Profile = profile
        self.members: dict[str, Member] = {}
        self.missing: list[str] = []
        self.url = ""
        self._products = products
        self._tell = tell
        self._more = dict(environment or {})
        self._ending = threading.Event()
        self._toml = folder / "rcommerce.toml"
        self._port = {name: free_port(ports.get(name, 0)) for name in PORTS}
        self._first_valkey = ports.get("valkey")

    def start(self) -> None:
        """Starts everything, dependencies first. Raises StartError."""
        if self.profile == "fleet":
            self._start_fleet()
        else:
            self._start_shop()

    def kill(self) -> None:
        """Ends everything at once, including what is starting."""
        self._ending.set()
        with ThreadPoolExecutor(UP_AT_ONCE) as pool:
            list(pool.map(lambda member: member.part.kill(), reversed(self.members.values())))

    # One part -----------------------------------------------------------------------------------

    def start_part(self, name: str) -> None:
        """Starts a stopped or killed part. Raises KeyError, StartError."""
        member = self.members[name]
        if member.part.pid is None:
            self._start(member)

    def stop_part(self, name: str) -> None:
        """Stops a part, and waits. Raises KeyError."""
        member = self.members[name]
        member.wanted = "stopped"
        member.part.stop()

    def kill_part(self, name: str) -> None:
        """Kills a part, like a power failure. Raises KeyError."""
        self.members[name].part.kill()

    def command(self, *arguments: str, **more: str) -> str:
        """The output of `rcommerce …`, run like an operator of the fleet, with `more` in its
        environment. Raises StartError."""
        admin = Server(self.folder / "admin", settings={"RCOMMERCE_CONFIG": str(self._toml)})
        done = admin.command(*arguments, **more)
        if done.returncode:
            shown = f"{done.stderr}{done.stdout}".strip()
            raise StartError(f"rcommerce {' '.join(arguments)} failed:\n{shown}")
        return done.stdout

    # Starting -----------------------------------------------------------------------------------

    def _start_shop(self) -> None:
        primary = self._primary()
        self._up("primary")
        self._write("shop.toml", {"primary": primary.address})
        shop = self._instance(1)
        self._worker()
        self._fill(tenants_too=False)
        self._up("shop-1", "worker")
        self.url = shop.url

    def _start_fleet(self) -> None:
        at, port = self.folder, self._port
        primary = self._primary()
        shards = [self._shard(n) for n in range(1, SHARDS + 1)]
        valkey = Cluster(at / "valkey", first_port=self._first_valkey)
        for n, node in enumerate(valkey.nodes, 1):
            role = "master" if n <= MASTERS else "replica"
            self._add(f"valkey-{n}", f"Valkey Cluster, {role}", node)
        self._add("s3", "SeaweedFS, S3", SeaweedFS(at / "s3", port=port["s3"]))
        self._up(*self.members)
        valkey.join()
        replicas = [self._replica(primary, n) for n in range(1, REPLICAS + 1)]
        self._up(*replicas, *self._pooler(primary, shards))
        self._write("fleet.toml", {name: each.part.address for name, each in self.members.items()})
        shops = [self._instance(n) for n in range(1, INSTANCES + 1)]
        self._worker()
        self._fill(tenants_too=True)
        self._up(*(f"shop-{n}" for n in range(1, INSTANCES + 1)), "worker")
        self._up(*self._before([each.port for each in shops]))
        self.url = f"http://{self.members['nginx'].part.address}"

    def _primary(self) -> Postgres:
        primary = Postgres(self.folder / "primary", port=self._port["primary"])
        return self._add("primary", "PostgreSQL, takes the writes", primary)

    def _shard(self, number: int) -> Postgres:
        name = f"shard-{number}"
        shard = Postgres(self.folder / name, port=self._port[name], database=f"shard_{number}")
        return self._add(name, "PostgreSQL, with shops of its own", shard)

    def _replica(self, primary: Postgres, number: int) -> str:
        name = f"replica-{number}"
        replica = primary.standby(self.folder / name, port=self._port[name])
        self._add(name, "PostgreSQL, streams from primary", replica)
        return name

    def _pooler(self, primary: Postgres, shards: Sequence[Postgres]) -> list[str]:
        behind = {each.database: (each, each.database) for each in (primary, *shards)}
        at, port = self.folder / "pgbouncer", self._port["pgbouncer"]
        return self._installed(
            "pgbouncer",
            "PgBouncer, before primary and shards",
            lambda: PgBouncer(at, behind, port=port),
        )

    def _installed(self, name: str, about: str, make: Callable[[], Part]) -> list[str]:
        """The name of a part that is added if its program is installed; otherwise it is listed as
        missing."""
        try:
            self._add(name, about, make())
        except StartError as error:
            self.missing.append(str(error))
            return []
        return [name]

    def _instance(self, number: int) -> Server:
        name = f"shop-{number}"
        server = Server(self.folder / name, settings=self._environment, port=self._port[name])
        return self._add(name, "R Commerce, an instance", server)

    def _worker(self) -> Worker:
        server = Server(self.folder / "worker", settings=self._environment)
        server.data_dir.mkdir()
        return self._add("worker", "R Commerce, runs the jobs", Worker(server))

    def _before(self, ports: Sequence[int]) -> list[str]:
        """The load balancers, as far as installed."""
        at, port = self.folder, self._port
        self._add(
            "nginx", "nginx, before the instances", Nginx(at / "nginx", ports, port=port["nginx"])
        )
        return [
            "nginx",
            *self._installed(
                "haproxy",
                "HAProxy, before the same",
                lambda: HAProxy(at / "haproxy", ports, port=port["haproxy"]),
            ),
            *self._installed(
                "prometheus",
                "Prometheus, with its alerts",
                lambda: Prometheus(at / "prometheus", ports, port=port["prometheus"]),
            ),
        ]

    @property
    def _environment(self) -> dict[str, str]:
        return {"RCOMMERCE_CONFIG": str(self._toml), **LAB, **self._more}

    def _write(self, template: str, values: Mapping[str, str]) -> None:
        fixed = {"host": "127.0.0.1", "balancers": "127.0.0.1", "secret": SECRET}
        text = rendered(template, {"pgbouncer": "", **fixed, **values})
        is_direct = template == "fleet.toml" and "pgbouncer" not in values
        self._toml.write_text(without_pooler(text) if is_direct else text)
        self._toml.chmod(0o600)

    def _add(self, name: str, about: str, part: P) -> P:
        self.members[name] = Member(name, about, part)
        return part

    def _up(self, *names: str) -> None:
        """Starts these concurrently. Raises the first error."""
        with ThreadPoolExecutor(UP_AT_ONCE) as pool:
            try:
                for done in [pool.submit(self._start, self.members[name]) for name in names]:
                    done.result()
            except BaseException:
                self.kill()  # those that are still waited for
                raise

    def _start(self, member: Member) -> None:
        if self._ending.is_set():
            return
        member.wanted = "starting"
        member.part.start()
        member.wanted = "running"
        self._tell(f"{member.name} is up: {member.about}")

    # Contents -----------------------------------------------------------------------------------

    def _fill(self, *, tenants_too: bool) -> None:
        """Migrates the databases, and creates demo products. Raises StartError."""
        self._tell("the databases are being migrated")
        if tenants_too:  # the default shop was created before the shards: it is on the primary
            self.command("db", "upgrade", RCOMMERCE_DATABASE__SHARDS="[]")
        self.command("db", "upgrade")
        settings = load(self._toml, {}).settings
        self._tell(f"{self._products:,} products are being made")
        asyncio.run(_stocked(settings, self._products, TENANTS if tenants_too else ()))


async def _stocked(settings: Settings, products: int, slugs: Sequence[str]) -> None:
    services = make_services(settings, workers=1)
    await services.cluster.open()
    try:
        made = [
            await tenants.create(
                services.cluster,
                slug=slug,
                name=slug.title(),
                currency="USD",
                hosts=[f"{slug}.localhost"],
            )
            for slug in slugs
        ]
        async with services.cluster.control.read() as conn:
            default = await tenants.named(conn, None)
        counts = {default: products} | dict.fromkeys(made, max(1, products // 10))
        for tenant, count in counts.items():
            shard = services.cluster.shard(tenant.shard or services.cluster.place(tenant.id))
            async with shard.write() as tx:
                await demo.load(tx.raw, tenant.id, tenant.currency, count, lambda _: None)
    finally:
        await services.cluster.close()
        with contextlib.suppress(OSError):
            await services.outgoing.close()
