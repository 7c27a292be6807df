"""The control database, every shard, replica and pooler: what is wrong, or will be with more
instances."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from rcommerce.database import migrate, migrations
from rcommerce.database.cluster import require_room, shares
from rcommerce.database.pool import hang_up
from rcommerce.database.server import CONNECT_TIMEOUT_S, Role, conninfo, session_settings
from rcommerce.doctor.findings import ASKED, Distance, Finding, Sample, distance
from rcommerce.errors import StartError
from rcommerce.settings import DatabaseSettings
from rcommerce.settings.load import MAIN
from rcommerce.settings.schema import Node

OLDEST = 15  # PostgreSQL
TIMEOUT_S = 5.0
FACTS: LiteralString = """
select current_setting('server_version_num')::int / 10000 as version,
       current_setting('max_connections')::int as max_connections,
       current_setting('superuser_reserved_connections')::int as reserved,
       (select count(*) from pg_stat_activity
         where backend_type = 'client backend' and pid <> pg_backend_pid())::int as used,
       current_setting('wal_level') as wal_level,
       current_setting('synchronous_standby_names') as synchronous,
       current_setting('max_replication_slots')::int
           - (select count(*) from pg_replication_slots)::int as free_slots,
       pg_is_in_recovery() as is_replica,
       exists (select from pg_stat_wal_receiver where pid is not null) as receives,
       extract(epoch from now() - pg_last_xact_replay_timestamp())::float8 as replayed_s,
       (select rolreplication or rolsuper from pg_roles where rolname = current_user) as replicates,
       (select rolsuper or (to_regrole('pg_create_subscription') is not null
                and pg_has_role(current_user, to_regrole('pg_create_subscription'), 'member'))
          from pg_roles where rolname = current_user) as subscribes,
       pg_postmaster_start_time()::text || ' ' || coalesce(inet_server_port(), 0) as server,
       (select system_identifier from pg_control_system())::text as cluster,
       case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
            else pg_current_wal_flush_lsn() end - '0/0'::pg_lsn as position
"""
NOW: LiteralString = "select extract(epoch from clock_timestamp())::float8 as now"
PREPARES = (1, 21)  # the first PgBouncer that keeps prepared statements


@dataclass(slots=True)
class _Load:
    """What an instance may hold of one server, by whatever names the settings have for it."""

    labels: list[str]
    facts: dict[str, Any]
    each: int


class _Loads(dict[str, _Load]):
    """By server: two shards may be databases of one."""

    def add(self, label: str, facts: dict[str, Any], each: int) -> None:
        found = self.setdefault(facts["server"], _Load([], facts, 0))
        found.labels.append(label)
        found.each += each


def examine(settings: DatabaseSettings, workers: int, instances: int) -> Iterator[Finding]:
    """Looks at the control database, every shard, every replica and pooler.

    Raises SettingsError for a pool that is too small by itself.
    """
    require_room(settings, workers)
    nodes: dict[str, Node] = {MAIN: settings, **{each.name: each for each in settings.shards}}
    loads = _Loads()
    for name, node in nodes.items():
        label = "the database" if name == MAIN else f"the shard {name}"
        yield from _node(label, node, settings, workers, loads)
        if settings.shards:
            yield from _movable(label, node)
    for load in loads.values():
        yield _room(load, instances)
    yield from _poolers(nodes, instances)


def embedded(dsn: str) -> Iterator[Finding]:
    """The embedded server, which needs not run: whoever needs it starts it."""
    label = "the database"
    try:
        facts = _facts(dsn)
    except StartError:
        yield Finding("green", label, "is embedded, and not running: the server starts it,"
                      " sizes it, and migrates it")  # fmt: skip
        return
    yield _version(f"{label} (embedded)", facts, migrate.revision(dsn))


def _node(
    label: str, node: Node, limits: DatabaseSettings, workers: int, loads: _Loads
) -> Iterator[Finding]:
    direct = conninfo(node, node.direct_addresses, Role.PRIMARY)
    try:
        facts = _facts(direct)
        found = migrate.revision(direct)
    except StartError as error:
        yield Finding("red", label, str(error))
        return
    yield _version(label, facts, found)
    if not migrate.is_served(found):
        yield Finding("red", label, f"at revision {found or 'none'}; this release needs"
                      f" {migrations.head()}", "rcommerce db upgrade")  # fmt: skip
    sizes = [size * workers for size in shares(node, workers)]
    if node.pooler == "None":
        loads.add(label, facts, sizes[0])
    else:
        yield from _timeouts(label, node, limits)
    if len(node.addresses) > 1 and not facts["synchronous"]:
        yield Finding(
            "yellow",
            label,
            "replication is asynchronous: after a failover the last commits may be missing",
            "set synchronous_standby_names on the primary",
        )
    for address, size in zip(node.read_replicas, sizes[1:], strict=True):
        replica = f"the replica {address} of {label}"
        try:
            its = _facts(conninfo(node, [address], Role.ANY))
        except StartError as error:
            yield Finding("red", replica, str(error))
            continue
        yield _replica(replica, its, facts, limits)
        if node.pooler == "None":
            loads.add(replica, its, size)


def _version(label: str, facts: dict[str, Any], revision: str | None) -> Finding:
    version = facts["version"]
    if version < OLDEST:
        return Finding("red", label, f"PostgreSQL {version}", f"it needs {OLDEST} or newer")
    return Finding("green", label, f"PostgreSQL {version}, at revision {revision or 'none'}",
                   **facts["far"])  # fmt: skip


def _room(load: _Load, instances: int) -> Finding:
    """Compares what the instances may hold with what the server has."""
    label, facts, each = ", ".join(load.labels), load.facts, load.each
    room = facts["max_connections"] - facts["reserved"]
    fits = room // each
    limits = f"max_connections = {facts['max_connections']}, {facts['reserved']} for superusers"
    what = f"each instance may hold {each} of its {room} connections ({limits}): {fits} fit"
    if instances > fits:
        return Finding(
            "red",
            label,
            f"{what}; of {instances}, some will be refused: “too many clients already”",
            f"max_connections = {instances * each + facts['reserved'] + 10}, a smaller pool_size,"
            " or a pooler",
        )
    return Finding("green", label, f"{what}; with instance {fits + 1} some will be refused")


def _timeouts(label: str, node: Node, limits: DatabaseSettings) -> Iterator[Finding]:
    """Behind a pooler, timeouts are the role's."""
    try:
        with _open(conninfo(node, node.addresses, Role.PRIMARY)) as connection:
            far = _distance(connection)
            wanted = session_settings(limits)
            for name, value in wanted.items():
                row = connection.execute("select current_setting(%s) as value", (name,)).fetchone()
                is_right = connection.execute(
                    "select %s::interval = %s::interval as same",
                    (row["value"] if row else "0", value),
                ).fetchone()
                if not is_right or not is_right["same"]:
                    shown = row["value"] if row else "nothing"
                    yield Finding("yellow", label, f"{name} is {shown} through the pooler, and"
                                  f" {value} in the settings", "rcommerce db upgrade")  # fmt: skip
    except psycopg.Error as error:
        yield Finding("red", label, f"not reached through the pooler: {_first_line(error)}")
    else:
        yield Finding("green", label, "answers through the pooler", **far)


def _replica(
    label: str, facts: dict[str, Any], primary: dict[str, Any], limits: DatabaseSettings
) -> Finding:
    far: Distance = facts["far"]
    if facts["cluster"] != primary["cluster"]:
        return Finding("red", label, "is a replica of another database: what it answers is not this"
                       " shop's", "correct read_replicas", **far)  # fmt: skip
    if not facts["is_replica"]:
        return Finding("yellow", label, "is a primary itself", "has it been promoted?", **far)
    behind_mb = max(primary["position"] - facts["position"], 0) / 2**20
    if (
        facts["replayed_s"] is not None
        and behind_mb
        and (facts["replayed_s"] > limits.max_replica_lag_s)
    ):
        return Finding("yellow", label, f"is {facts['replayed_s']:.0f} s and {behind_mb:,.1f} MB"
                       " behind: it is not read from", "is it too weak, or is replay paused?",
                       **far)  # fmt: skip
    if not facts["receives"]:
        return Finding("yellow", label, "receives nothing from the primary", "see its log, and"
                       " primary_conninfo", **far)  # fmt: skip
    return Finding("green", label, f"replays what the primary writes, {behind_mb:,.1f} MB behind",
                   **far)  # fmt: skip


def _movable(label: str, node: Node) -> Iterator[Finding]:
    """What moves of tenants need."""
    try:
        facts = _facts(conninfo(node, node.direct_addresses, Role.PRIMARY))
    except StartError:
        return  # told already
    if node.pooler != "None" and not node.direct_hosts:
        yield Finding("yellow", label, "tenants cannot be moved: replication does not pass a"
                      " pooler", "name the server itself in direct_hosts")  # fmt: skip
        yield Finding("yellow", label, "answers are not kept in memory: notifications do not pass"
                      " a pooler", "name the server itself in direct_hosts")  # fmt: skip
    for is_right, what, advice in (
        (facts["wal_level"] == "logical", f"wal_level is {facts['wal_level']}",
         "alter system set wal_level = logical, and a restart"),
        (facts["replicates"], "its role may not replicate", "alter role … replication"),
        (facts["subscribes"], "its role may not subscribe", "grant pg_create_subscription to …"),
        (facts["free_slots"] >= 8, f"only {facts['free_slots']} replication slots are free",
         "a larger max_replication_slots"),
    ):  # fmt: skip
        if not is_right:
            yield Finding("yellow", label, f"tenants cannot be moved: {what}", advice)


def _poolers(nodes: dict[str, Node], instances: int) -> Iterator[Finding]:
    """Each PgBouncer once: what its clients may hold, and what it may hold itself."""
    behind: dict[str, list[Node]] = {}
    for node in nodes.values():
        if node.pooler != "None":
            for address in node.addresses:
                behind.setdefault(address, []).append(node)
    for address, users in behind.items():
        label = f"PgBouncer at {address}"
        try:
            bouncer = _pgbouncer(users[0], address)
        except psycopg.Error as error:
            yield Finding("yellow", label, f"its console does not answer: {_first_line(error)}",
                          f"make {users[0].username} one of its stats_users")  # fmt: skip
            continue
        yield from _modes(label, users, bouncer)
        config, each = bouncer.config, sum(node.pool_size for node in users)
        fits = int(config["max_client_conn"]) // each
        text = (
            f"max_client_conn = {config['max_client_conn']}, and each instance may hold {each}:"
            f" {fits} instances fit"
        )
        if instances > fits:
            yield Finding("red", label, f"{text}; of {instances}, some will be refused",
                          f"max_client_conn = {instances * each}")  # fmt: skip
        else:
            yield Finding("green", label, text)
        yield from _behind(label, users, int(config["default_pool_size"]))


def _behind(label: str, users: list[Node], size: int) -> Iterator[Finding]:
    """Whether what the pooler may hold fits into the servers behind it."""
    servers: dict[str, list[Node]] = {}
    for node in users:
        servers.setdefault(",".join(node.direct_addresses), []).append(node)
    for node, *others in servers.values():
        wanted = size * (1 + len(others))
        try:
            facts = _facts(conninfo(node, node.direct_addresses, Role.PRIMARY))
        except StartError:
            continue  # told already
        room = facts["max_connections"] - facts["reserved"]
        text = (
            f"default_pool_size = {size}, {1 + len(others)} times: {wanted} of the {room}"
            f" connections of {', '.join(node.direct_addresses)} behind it"
        )
        if wanted > room:
            yield Finding("red", label, text, f"max_connections = {wanted + 10} there")
        else:
            yield Finding("green", label, text)


@dataclass(frozen=True, slots=True)
class _Bouncer:
    """What the console of a PgBouncer says: `modes` by the database, as its clients name it."""

    version: tuple[int, ...]
    config: dict[str, str]
    modes: dict[str, str]


def _modes(label: str, users: list[Node], bouncer: _Bouncer) -> Iterator[Finding]:
    """Whether it gives a server connection for a transaction, and keeps prepared statements."""
    shown = ".".join(map(str, bouncer.version))
    by_mode: dict[str, list[str]] = {}
    for database in sorted({node.database for node in users}):
        mode = bouncer.modes.get(database, bouncer.config["pool_mode"])
        by_mode.setdefault(mode, []).append(database)
    for mode, databases in by_mode.items():
        text = f"PgBouncer {shown}, pool_mode = {mode} of {', '.join(databases)}"
        if mode == "transaction":
            yield Finding("green", label, text)
        elif mode == "session":
            yield Finding("yellow", label, f"{text}: a client keeps its server connection, and no"
                          " more are served than there are of those", "transaction")  # fmt: skip
        else:
            yield Finding("red", label, f"{text}: no transaction lasts", "transaction")
    if bouncer.version < PREPARES:
        yield Finding("yellow", label, f"PgBouncer {shown} keeps no prepared statements: each one"
                      " is planned anew", "1.21 or newer")  # fmt: skip
    elif bouncer.config.get("max_prepared_statements", "0") == "0":
        yield Finding("yellow", label, "keeps no prepared statements: each one is planned anew",
                      "max_prepared_statements = 200")  # fmt: skip


def _pgbouncer(node: Node, address: str) -> _Bouncer:
    host, _, port = address.rpartition(":")
    dsn = psycopg.conninfo.make_conninfo(
        host=host, port=port, dbname="pgbouncer", user=node.username, password=node.password,
        connect_timeout=CONNECT_TIMEOUT_S,
    )  # fmt: skip
    with _open(dsn) as connection:
        cursor = psycopg.ClientCursor(connection, row_factory=dict_row)
        version = str(cursor.execute("show version").fetchall()[0]["version"])
        return _Bouncer(
            tuple(int(part) for part in re.findall(r"\d+", version)),
            {str(row["key"]): str(row["value"]) for row in cursor.execute("show config")},
            {
                str(row["name"]): str(row["pool_mode"])
                for row in cursor.execute("show databases")
                if row["pool_mode"]
            },
        )


def _facts(dsn: str) -> dict[str, Any]:
    """What a server says of itself; `far` is its Distance. Raises StartError."""
    try:
        with _open(dsn) as connection:
            row = connection.execute(FACTS).fetchone()
            far = _distance(connection)
    except psycopg.Error as error:
        raise StartError(f"cannot be reached: {_first_line(error)}") from error
    assert row is not None  # noqa: S101 - a statement without a from
    return row | {"far": far}


def _distance(connection: psycopg.Connection[dict[str, Any]]) -> Distance:
    def its_time() -> float:
        row = connection.execute(NOW).fetchone()
        return float(row["now"]) if row else 0.0

    return distance([Sample(time.time(), its_time(), time.time()) for _ in ASKED])


@contextlib.contextmanager
def _open(dsn: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection for a few statements. One that waits too long, such as a pooler's for a server
    that it cannot reach, is lost. Raises psycopg.Error."""
    with psycopg.connect(
        dsn, autocommit=True, prepare_threshold=None, row_factory=dict_row
    ) as connection:
        overdue = threading.Timer(TIMEOUT_S, hang_up, [connection])
        overdue.daemon = True
        overdue.start()
        try:
            yield connection
        finally:
            overdue.cancel()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
