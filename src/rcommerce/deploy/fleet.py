"""`fleet.toml`: the machines, their number, size and addresses, and what is in front of them."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from rcommerce import __version__
from rcommerce.errors import SettingsError
from rcommerce.settings import Settings, load
from rcommerce.settings.load import MAIN, read_section
from rcommerce.settings.schema import Node, NotNegative, Port, Positive, Section

Percent = Annotated[int, Meta(ge=1, le=100)]
Cpus = Annotated[float, Meta(gt=0, le=1024)]
POSTGRES_PORT = 5432


class Instances(Section):
    """`addresses` are "host" or "host:port"; an orchestrator that assigns them needs only `count`.
    `weights` are as many as addresses. `max` is the largest number at any time."""

    addresses: list[str] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    count: Positive = 3
    min: Positive = 3
    max: Positive = 20
    cpus: Cpus = 2
    memory_mb: Positive = 2048


class Workers(Section):
    """Processes that run jobs."""

    count: Positive = 1
    cpus: Cpus = 1
    memory_mb: Positive = 1024


class DatabaseServers(Section):
    """The resources of each PostgreSQL server."""

    max_connections: Positive = 100
    superuser_reserved_connections: NotNegative = 3


class Health(Section):
    """How a load balancer checks an instance. The defaults are the seed's."""

    interval_ms: Annotated[int, Meta(ge=100, le=60_000)] = 5000
    rise: Positive = 2
    fall: Positive = 3
    timeout_ms: Annotated[int, Meta(ge=50, le=60_000)] = 3000


class Nginx(Section):
    """`active_check`: with njs, which a stock nginx has; with the check module, for builds with it;
    or none: nginx then notices failed requests. `micro_cache_s` of 0 disables the cache,
    `requests_per_second` of 0 the limit per client."""

    listen: str = "80"
    tls_listen: str = "443"
    certificate: str | None = None
    certificate_key: str | None = None
    max_fails: NotNegative = 3
    fail_timeout_s: Positive = 30
    keepalive: Positive = 32
    active_check: Literal["njs", "check_module", "none"] = "njs"
    micro_cache_s: NotNegative = 1
    micro_cache_mb: Positive = 256
    requests_per_second: NotNegative = 50
    request_burst: NotNegative = 200
    trusted: list[str] = field(default_factory=list)
    admin_listen: str = "127.0.0.1:8079"
    cache_path: str = "/var/cache/nginx/rcommerce"


class HAProxy(Section):
    listen: str = ":80"
    tls_listen: str = ":443"
    certificate: str | None = None
    slow_start_s: NotNegative = 30
    max_connections: Positive = 20_000


class PgBouncer(Section):
    """PgBouncer; the settings have its address. The defaults are the seed's, except `auth_type`: it
    says md5."""

    listen_addr: str = "0.0.0.0"  # noqa: S104 - instances on other machines reach it
    auth_type: Literal["scram-sha-256", "md5"] = "scram-sha-256"
    pool_mode: Literal["transaction"] = "transaction"
    max_client_conn: Positive = 10_000
    default_pool_size: Positive = 25
    reserve_pool_size: NotNegative = 5
    auth_file: str = "/etc/pgbouncer/userlist.txt"


class Autoscaling(Section):
    """For Kubernetes and AWS; the defaults are the seed's. `requests_per_second` is per instance,
    if that is to count as well."""

    cpu_percent: Percent = 70
    memory_percent: Percent = 80
    requests_per_second: Positive | None = None
    up_stabilization_s: NotNegative = 60
    up_percent: Positive = 100
    up_period_s: Positive = 15
    down_stabilization_s: NotNegative = 300
    down_percent: Percent = 10
    down_period_s: Positive = 60


class Kubernetes(Section):
    """`staging_settings`: another settings file, for a small fleet."""

    namespace: str = "rcommerce"
    ingress_class: str = "nginx"
    tls_secret: str = "rcommerce-tls"  # noqa: S105 - its name
    secret: str = "rcommerce-secrets"  # noqa: S105 - its name
    monitoring_namespace: str = "monitoring"
    ingress_namespace: str = "ingress-nginx"
    pre_stop_s: NotNegative = 5
    staging_settings: Path | None = None


class Aws(Section):
    """The group's default sizes are the seed's."""

    min: Positive = 2
    max: Positive = 10
    desired: Positive = 3
    grace_s: NotNegative = 300
    network: str = "10.0.0.0/8"
    instance_type: str = "c7i.large"
    database_class: str = "db.m7g.large"
    database_gb: Annotated[int, Meta(ge=20, le=65536)] = 100
    replicas: Annotated[int, Meta(ge=0, le=15)] = 2
    cache_type: str = "cache.m7g.large"


class Monitoring(Section):
    """Addresses are "host:port". The files contain what Slack and PagerDuty ask for."""

    scrape_interval_s: Positive = 15
    alertmanagers: list[str] = field(default_factory=list)
    node_exporters: list[str] = field(default_factory=list)
    blackbox_exporter: str | None = None
    prometheus_url: str = "http://prometheus:9090"
    slack_channel: str = "#shop"
    slack_url_file: str = "/etc/alertmanager/secrets/slack-url"
    pagerduty_key_file: str = "/etc/alertmanager/secrets/pagerduty-key"


class FleetFile(Section):
    """The whole file. `settings` is the settings file, relative to this one; `image` is the
    container image."""

    domain: str = "shop.example.com"
    settings: Path = Path("rcommerce.toml")
    image: str = f"rcommerce:{__version__}"
    instances: Instances = field(default_factory=Instances)
    workers: Workers = field(default_factory=Workers)
    database: DatabaseServers = field(default_factory=DatabaseServers)
    health: Health = field(default_factory=Health)
    nginx: Nginx = field(default_factory=Nginx)
    haproxy: HAProxy = field(default_factory=HAProxy)
    pgbouncer: PgBouncer = field(default_factory=PgBouncer)
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    aws: Aws = field(default_factory=Aws)
    monitoring: Monitoring = field(default_factory=Monitoring)


class Instance(Section):
    """A server of a load balancer."""

    name: str
    host: str
    port: Port
    weight: int = 1

    @property
    def address(self) -> str:
        """ "host:port"."""
        return f"{self.host}:{self.port}"


class Fleet:
    """The file, and the settings of all instances in it."""

    def __init__(
        self, file: FleetFile, settings: Settings, place: Path, settings_path: Path = Path()
    ) -> None:
        self.file = file
        self.settings = settings
        self.place = place
        self.settings_path = settings_path

    @property
    def instances(self) -> list[Instance]:
        """Those with an address."""
        found, weights = [], self.file.instances.weights
        for number, address in enumerate(self.file.instances.addresses):
            host, port = split(address, self.settings.port)
            weight = weights[number] if number < len(weights) else 1
            name = f"shop-{number + 1}"
            found.append(Instance(name=name, host=host, port=port, weight=weight))
        return found

    @property
    def size(self) -> int:
        """The number of instances on an ordinary day."""
        return len(self.file.instances.addresses) or self.file.instances.count

    @property
    def most(self) -> int:
        """The largest number of instances: as many as there are addresses, or as autoscaling may
        start."""
        return len(self.file.instances.addresses) or self.file.instances.max

    @property
    def processes(self) -> int:
        """Worker processes of an instance: as set, else one a processor."""
        server = self.settings.server
        return server.workers or server.worker_threads or max(1, round(self.file.instances.cpus))

    @property
    def databases(self) -> dict[str, Node]:
        """The control database and the shards, by name."""
        database = self.settings.database
        return {MAIN: database, **{each.name: each for each in database.shards}}

    @property
    def notice_s(self) -> float:
        """The longest time until a load balancer notices that an instance drains: `fall` responses,
        `interval` apart, the first of which comes up to an interval late."""
        health = self.file.health
        return (health.fall * health.interval_ms + health.timeout_ms) / 1000


def load_fleet(path: Path) -> Fleet:
    """The fleet of a file, and its settings. Raises SettingsError."""
    file = read_section(path, FleetFile)
    settings = path.parent / file.settings
    if not settings.is_file():
        raise SettingsError(
            f'{path}: settings = "{file.settings}": there is no {settings}; it is the settings'
            " file that all instances share"
        )
    return Fleet(file, load(settings, {}).settings, path, settings)


def split(address: str, port: int = POSTGRES_PORT) -> tuple[str, int]:
    """Host and port; the port given where the address has none."""
    host, colon, digits = address.rpartition(":")
    if colon and digits.isdecimal() and (":" not in host or host.endswith("]")):
        return host, int(digits)
    return address, port
