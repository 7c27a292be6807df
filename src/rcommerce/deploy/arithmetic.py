"""Contradictions in a fleet, each with its calculation."""

from collections import Counter
from collections.abc import Iterator

from rcommerce.database.cluster import shares
from rcommerce.deploy.fleet import Fleet, split
from rcommerce.errors import SettingsError
from rcommerce.settings.schema import Node

Faults = Iterator[tuple[str, str]]


def require_sound(fleet: Fleet) -> None:
    """Raises SettingsError for the first contradiction."""
    for check in (_instances, _balancers, _draining, _replicas, _connections, _poolers):
        for key, message in check(fleet):
            raise SettingsError(f"{fleet.place}: {key}: {message}")


def connections(fleet: Fleet) -> dict[str, int]:
    """The connections that one instance may hold to each PostgreSQL server that it reaches without
    a pooler, by address."""
    found: Counter[str] = Counter()
    for node in fleet.databases.values():
        sizes = [size * fleet.processes for size in shares(node, fleet.processes)]
        if node.pooler == "None":
            found[", ".join(node.addresses)] += sizes[0]
            for replica, size in zip(node.read_replicas, sizes[1:], strict=True):
                found[replica] += size
    return dict(found)


def poolers(fleet: Fleet) -> dict[str, list[tuple[str, Node]]]:
    """The databases behind each pooler, by its address."""
    found: dict[str, list[tuple[str, Node]]] = {}
    for name, node in fleet.databases.items():
        if node.pooler != "None":
            for address in node.addresses:
                found.setdefault(address, []).append((name, node))
    return found


def _instances(fleet: Fleet) -> Faults:
    file = fleet.file.instances
    if file.min > file.max:
        yield "instances.min", f"{file.min} is more than max = {file.max}"
    if not file.addresses and not file.min <= file.count <= file.max:
        yield "instances.count", f"{file.count} is not from min = {file.min} to max = {file.max}"
    if file.weights and len(file.weights) != len(file.addresses):
        yield (
            "instances.weights",
            f"{len(file.weights)} for {len(file.addresses)} addresses: one each",
        )
    for number, weight in enumerate(file.weights):
        if not 1 <= weight <= 256:
            yield (
                "instances.weights",
                f"{weight} of {file.addresses[number]}: from 1 to 256 is right; an instance that"
                " is to get nothing is left out of addresses",
            )
    for address, count in Counter(each.address for each in fleet.instances).items():
        if count > 1:
            yield "instances.addresses", f"{address} stands {count} times: two listen nowhere"
    if "." not in fleet.file.domain:
        yield "domain", f'"{fleet.file.domain}" must be like shop.example.com'


def _balancers(fleet: Fleet) -> Faults:
    nginx, haproxy = fleet.file.nginx, fleet.file.haproxy
    if bool(nginx.certificate) != bool(nginx.certificate_key):
        yield "nginx.certificate", "goes with nginx.certificate_key; set both, or neither"
    if nginx.certificate and _port(nginx.listen) == _port(nginx.tls_listen):
        yield (
            "nginx.tls_listen",
            f"{nginx.tls_listen} is where listen is, too: two ports are needed",
        )
    if haproxy.certificate and _port(haproxy.listen) == _port(haproxy.tls_listen):
        yield "haproxy.tls_listen", "is where listen is, too: two ports are needed"
    for key, listen in (("nginx.listen", nginx.listen), ("haproxy.listen", haproxy.listen)):
        host, port = split(listen.removeprefix("*"), 80)
        for each in fleet.instances:
            if port == each.port and host and host == each.host:
                yield key, f"{listen} is where the instance {each.address} listens"
    health = fleet.file.health
    if health.timeout_ms > health.interval_ms:
        yield (
            "health.timeout_ms",
            f"{health.timeout_ms} is longer than interval_ms = {health.interval_ms}: a check would"
            " begin while the last one waits",
        )


def _port(listen: str) -> str:
    return listen.rpartition(":")[2]


def _draining(fleet: Fleet) -> Faults:
    """An instance that ends before its load balancer has noticed fails the requests in between."""
    health, delay = fleet.file.health, fleet.settings.server.drain_delay_secs
    if fleet.instances and delay < fleet.notice_s:
        yield (
            "health.interval_ms",
            f"a balancer notices after {health.fall} × {health.interval_ms} ms +"
            f" {health.timeout_ms} ms = {fleet.notice_s:g} s that an instance drains, which ends"
            f" after server.drain_delay_secs = {delay}: set that to {fleet.notice_s:.0f} or more,"
            " or ask more often",
        )


def _replicas(fleet: Fleet) -> Faults:
    for name, node in fleet.databases.items():
        where = "database" if name == "main" else f"database.shards, {name}"
        primaries = node.direct_addresses if len(node.direct_addresses) == 1 else []
        for replica in node.read_replicas:
            if replica in primaries or replica in (node.addresses if not node.hosts else []):
                yield (
                    f"{where}.read_replicas",
                    f"{replica} is the primary's address: it would be read as if it lagged behind"
                    " itself",
                )
        for address, count in Counter(node.read_replicas).items():
            if count > 1:
                yield f"{where}.read_replicas", f"{address} stands {count} times"


def _connections(fleet: Fleet) -> Faults:
    servers = fleet.file.database
    room = servers.max_connections - servers.superuser_reserved_connections
    for address, each in connections(fleet).items():
        wanted = fleet.most * each
        if wanted > room:
            yield (
                "database.max_connections",
                f"{fleet.most} instances × {each} connections = {wanted} to {address}, which has"
                f" {servers.max_connections} - {servers.superuser_reserved_connections} for"
                f" superusers = {room}: {room // each} instances fit. Put PgBouncer between"
                f' (database.pooler = "pgbouncer"), lower database.pool_size, or give it'
                f" max_connections = {wanted + servers.superuser_reserved_connections}",
            )


def _poolers(fleet: Fleet) -> Faults:
    pgbouncer, servers = fleet.file.pgbouncer, fleet.file.database
    room = servers.max_connections - servers.superuser_reserved_connections
    ports = {_port(address) for address in poolers(fleet)}
    if len(ports) > 1:
        yield (
            "database.hosts",
            f"PgBouncers on the ports {', '.join(sorted(ports))}: all have one file, and one port",
        )
    for address, users in poolers(fleet).items():
        yield from _names(address, users)
        each = sum(node.pool_size for _, node in users)
        if fleet.most * each > pgbouncer.max_client_conn:
            yield (
                "pgbouncer.max_client_conn",
                f"{fleet.most} instances × {each} connections = {fleet.most * each} to {address},"
                f" which takes {pgbouncer.max_client_conn}",
            )
        by_server = Counter(node.direct_addresses[0] for _, node in users)
        for server, count in by_server.items():
            wanted = count * (pgbouncer.default_pool_size + pgbouncer.reserve_pool_size)
            if wanted > room:
                yield (
                    "pgbouncer.default_pool_size",
                    f"{count} databases × ({pgbouncer.default_pool_size} +"
                    f" {pgbouncer.reserve_pool_size} in reserve) = {wanted} connections to"
                    f" {server}, which has room for {room}",
                )
        for name, node in users:
            if not node.direct_hosts:
                yield (
                    "database.direct_hosts",
                    f"{name} is behind {address}, and nothing says which server is behind that:"
                    ' name it, such as ["10.0.2.10:5432"]',
                )


def _names(address: str, users: list[tuple[str, Node]]) -> Faults:
    """A pooler distinguishes databases by name only."""
    homes: dict[str, str] = {}
    for name, node in users:
        other = homes.setdefault(node.database, name)
        if other != name:
            yield (
                "database.shards",
                f"{name} and {other} are both called “{node.database}” behind {address}, which"
                " would lead both to one server: give each a database of its own name",
            )
