"""The control database, and every shard, replica and pooler, for a number of instances."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from rcommerce.database import migrate, migrations
from rcommerce.database.cluster import require_room, shares
from rcommerce.database.server import Role, conninfo, session_settings
from rcommerce.doctor import poolers
from rcommerce.doctor.findings import Distance, Finding
from rcommerce.doctor.postgres import distance_of, facts_of, first_line, opened
from rcommerce.errors import StartError
from rcommerce.settings import DatabaseSettings
from rcommerce.settings.load import MAIN
from rcommerce.settings.schema import Node

OLDEST = 15  # PostgreSQL


@dataclass(slots=True)
class _Load:
    """The connections of an instance to one server, by whatever names the settings have for it."""

    labels: list[str]
    facts: dict[str, Any]
    each: int


class _Loads(dict[str, _Load]):
    """By server: two shards may be databases of one server."""

    def add(self, label: str, facts: dict[str, Any], each: int) -> None:
        found = self.setdefault(facts["server"], _Load([], facts, 0))
        found.labels.append(label)
        found.each += each


def examine(settings: DatabaseSettings, workers: int, instances: int) -> Iterator[Finding]:
    """Checks the control database, every shard, every replica and pooler.

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
    yield from poolers.examine(nodes, instances)


def embedded(dsn: str) -> Iterator[Finding]:
    """The embedded server, which need not be running: commands start it."""
    label = "the database"
    try:
        facts = facts_of(dsn)
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
        facts = facts_of(direct)
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
            its = facts_of(conninfo(node, [address], Role.ANY))
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
    """Compares the connections of the instances with the server's limit."""
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
        with opened(conninfo(node, node.addresses, Role.PRIMARY)) as connection:
            far = distance_of(connection)
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
        yield Finding("red", label, f"not reached through the pooler: {first_line(error)}")
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
    """Prerequisites of tenant moves."""
    try:
        facts = facts_of(conninfo(node, node.direct_addresses, Role.PRIMARY))
    except StartError:
        return  # reported already
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
