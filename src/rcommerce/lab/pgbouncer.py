"""Debian's PgBouncer in transaction mode, in front of PostgreSQL servers of the lab."""

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from rcommerce.database import binaries
from rcommerce.errors import StartError
from rcommerce.lab.postgres import DATABASE, PASSWORD, USER, Postgres
from rcommerce.lab.process import START_TIMEOUT_S, Part, Process, installed
from rcommerce.ports import free_port

# The figures are the seed's.
CONFIGURATION = {
    "listen_addr": "127.0.0.1",
    "auth_type": "md5",
    "pool_mode": "transaction",
    "max_client_conn": "10000",
    "default_pool_size": "25",
    "admin_users": USER,
    "stats_users": USER,
    "unix_socket_dir": "",
    "server_login_retry": "1",
    "server_connect_timeout": "3",
    "log_connections": "0",
    "log_disconnections": "0",
    "log_stats": "0",
}


def program() -> Path:
    """The installed pgbouncer, or the one that LAB_PGBOUNCER names. Raises StartError."""
    given = os.environ.get("LAB_PGBOUNCER")
    return Path(given) if given else installed("pgbouncer", "PgBouncer", "pgbouncer")


class PgBouncer(Part):
    """A pooler. `databases` maps the name that clients use to the server behind it, and the
    database's name there."""

    def __init__(
        self,
        folder: Path,
        databases: Mapping[str, tuple[Postgres, str]],
        *,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        port = port or free_port()
        command = [str(program()), "-q", str(folder / "pgbouncer.ini")]
        process = Process(f"PgBouncer on port {port}", command, folder / "pgbouncer.log")
        super().__init__(port, process)
        self.folder = folder
        self._databases = dict(databases)
        self._settings = {**CONFIGURATION, **(settings or {})}

    def conninfo(self, database: str = DATABASE) -> str:
        """A libpq connection string through the pooler."""
        return (
            f"host=127.0.0.1 port={self.port} dbname={database} user={USER} password={PASSWORD}"
            " connect_timeout=10"
        )

    def admin(self, command: str) -> list[dict[str, Any]]:
        """Rows of an administrator's command, such as `show pools`."""
        with psycopg.connect(
            self.conninfo("pgbouncer"), autocommit=True, row_factory=psycopg.rows.dict_row
        ) as connection:
            cursor = psycopg.ClientCursor(connection, row_factory=psycopg.rows.dict_row)
            cursor.execute(command)
            return cursor.fetchall() if cursor.description else []

    def lead(self, name: str, server: Postgres) -> None:
        """Points a database to another server, as after a failover: changes the file and
        reloads."""
        self._databases[name] = (server, self._databases[name][1])
        self._write_settings()
        self.admin("reload")
        self.admin(f"reconnect {name}")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        binaries.let_in(self.folder)
        # The plain password works for md5 towards clients and for SCRAM towards PostgreSQL.
        self._write("users.txt", f'"{USER}" "{PASSWORD}"\n')
        self._write_settings()
        self.process.start()
        self.process.await_port(self.port)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                self.admin("show version")
                return
            time.sleep(0.05)
        raise StartError(f"PgBouncer does not answer:\n{self.process.log_tail()}")

    def _write_settings(self) -> None:
        lines = ["[databases]"]
        for name, (server, database) in self._databases.items():
            lines.append(f"{name} = host=127.0.0.1 port={server.port} dbname={database}")
        lines.append("[pgbouncer]")
        lines.append(f"listen_port = {self.port}")
        lines.append(f"auth_file = {self.folder / 'users.txt'}")
        lines += [f"{name} = {value}" for name, value in self._settings.items()]
        self._write("pgbouncer.ini", "\n".join(lines) + "\n")

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        binaries.give(path)
