"""PgBouncer: version, mode, and connection limits."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row

from rcommerce.database.server import CONNECT_TIMEOUT_S, Role, conninfo
from rcommerce.doctor.findings import Finding
from rcommerce.doctor.postgres import facts_of, first_line, opened
from rcommerce.errors import StartError
from rcommerce.settings.schema import Node

PREPARES = (1, 21)  # the first PgBouncer that supports prepared statements


def examine(nodes: Mapping[str, Node], instances: int) -> Iterator[Finding]:
    """Each PgBouncer in front of these, once."""
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
            yield Finding("yellow", label, f"its console does not answer: {first_line(error)}",
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
    """Whether the pooler's server connections fit the servers behind it."""
    servers: dict[str, list[Node]] = {}
    for node in users:
        servers.setdefault(",".join(node.direct_addresses), []).append(node)
    for node, *others in servers.values():
        wanted = size * (1 + len(others))
        try:
            facts = facts_of(conninfo(node, node.direct_addresses, Role.PRIMARY))
        except StartError:
            continue  # reported already
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
    """What PgBouncer's console reports: `modes` by database, as its clients name it."""

    version: tuple[int, ...]
    config: dict[str, str]
    modes: dict[str, str]


def _modes(label: str, users: list[Node], bouncer: _Bouncer) -> Iterator[Finding]:
    """Whether it assigns a server connection per transaction, and supports prepared statements."""
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
                      " is planned again", "1.21 or newer")  # fmt: skip
    elif bouncer.config.get("max_prepared_statements", "0") == "0":
        yield Finding("yellow", label, "keeps no prepared statements: each is planned again",
                      "max_prepared_statements = 200")  # fmt: skip


def _pgbouncer(node: Node, address: str) -> _Bouncer:
    host, _, port = address.rpartition(":")
    dsn = psycopg.conninfo.make_conninfo(
        host=host, port=port, dbname="pgbouncer", user=node.username, password=node.password,
        connect_timeout=CONNECT_TIMEOUT_S,
    )  # fmt: skip
    with opened(dsn) as connection:
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
