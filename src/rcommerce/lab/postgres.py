"""PostgreSQL servers on the loopback address: a primary and its streaming replicas.

Configured like an operator's: passwords (SCRAM), an owner that is no superuser, `wal_level` for
logical replication. `initdb` and `pg_basebackup` come with the embedded server.
"""

import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from rcommerce.database import binaries
from rcommerce.errors import StartError
from rcommerce.lab.process import START_TIMEOUT_S, Part, Process
from rcommerce.ports import free_port

DATABASE = USER = "rcommerce"
PASSWORD = "rcommerce"  # noqa: S105 - the documented default; a lab is on the loopback address
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_connections": "200",
    "max_wal_senders": "40",
    "max_replication_slots": "40",
    "max_worker_processes": "40",
    "max_logical_replication_workers": "32",
    "max_sync_workers_per_subscription": "4",
    "wal_keep_size": "512MB",
    "hot_standby_feedback": "on",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "200ms",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "random_page_cost": "1.1",
}
# What the database's owner needs besides owning it: for replicas, and moves of tenants.
OWNER = f"""
create role {USER} login replication password '{PASSWORD}';
grant pg_create_subscription to {USER};
"""


class Postgres(Part):
    """A server in a folder of its own.

    `settings` are lines of postgresql.conf, such as {"fsync": "off"}.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        database: str = DATABASE,
    ) -> None:
        port = port or free_port()
        data = folder / "data"
        command = [str(binaries.folder() / "postgres"), "-D", str(data), "-p", str(port)]
        process = Process(f"PostgreSQL on port {port}", command, folder / "postgres.log")
        super().__init__(port, process)
        self.folder = folder
        self.data = data
        self.database = database
        self._settings = dict(settings or {})
        self._source: str | None = None  # of a replica: its primary

    def conninfo(self, user: str = USER, database: str | None = None) -> str:
        """A libpq connection string."""
        return (
            f"host=127.0.0.1 port={self.port} dbname={database or self.database} user={user}"
            f" password={PASSWORD} connect_timeout=5"
        )

    def query(self, sql: str, *params: Any, user: str = USER) -> list[tuple[Any, ...]]:
        """Rows, as the owner of the shop's database or as another user."""
        with psycopg.connect(self.conninfo(user), autocommit=True) as connection:
            cursor = connection.execute(sql, params or None)
            return list(cursor.fetchall()) if cursor.description else []

    def start(self) -> None:
        if (self.data / "PG_VERSION").exists():
            self._launch()
        elif self._source is None:
            self._create()
        else:
            self._copy(self._source)

    def stop(self) -> None:
        """Stops it in fast mode, which disconnects its clients."""
        self.process.stop(signal.SIGINT)

    def kill(self) -> None:
        super().kill()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def standby(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        name: str | None = None,
        port: int | None = None,
    ) -> "Postgres":
        """A streaming replica, which copies this server at its first start. `name` is its name for
        synchronous_standby_names."""
        both = {**self._settings, **(settings or {})}
        made = Postgres(folder, settings=both, port=port, database=self.database)
        made._source = f"{self.conninfo()} application_name={name or folder.name}"
        return made

    def replica(
        self, folder: Path, *, settings: Mapping[str, str] | None = None, name: str | None = None
    ) -> "Postgres":
        """The same, started."""
        made = self.standby(folder, settings=settings, name=name)
        made.start()
        return made

    def promote(self) -> None:
        """Promotes a replica, and waits until it accepts writes."""
        self.query("select pg_promote(true, 30)", user="postgres")

    def follow(self, primary: "Postgres") -> None:
        """Points a replica to another primary."""
        source = f"{primary.conninfo()} application_name={self.folder.name}"
        self.configure({"primary_conninfo": source})

    def copy_again(self, primary: "Postgres") -> None:
        """Turns this stopped server into a replica of another one, deleting its data."""
        shutil.rmtree(self.data)
        self._source = f"{primary.conninfo()} application_name={self.folder.name}"
        self.start()

    def become_primary(self, of: "Postgres") -> None:
        """Takes over from its primary in order: nothing is written any more, and everything has
        been replayed."""
        of.stop()
        self.promote()

    def replayed(self) -> int:
        """A replica's position, in bytes of write-ahead log."""
        [(found,)] = self.query("select pg_last_wal_replay_lsn() - '0/0'")
        return int(found)

    def senders(self) -> list[int]:
        """The process ids of its WAL senders."""
        return [
            row[0] for row in self.query("select pid from pg_stat_replication", user="postgres")
        ]

    def configure(self, settings: Mapping[str, str]) -> None:
        """Changes settings of the running server: `alter system` and a reload."""
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            for name, value in settings.items():
                connection.execute(
                    psycopg.sql.SQL("alter system set {} = {}").format(
                        psycopg.sql.Identifier(name), psycopg.sql.Literal(value)
                    )
                )
            connection.execute("select pg_reload_conf()")

    def _create(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        binaries.let_in(self.folder)
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        binaries.give(self.data)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        binaries.give(secret)
        binaries.run(
            "initdb", "-D", str(self.data), "-U", "postgres", "--auth=scram-sha-256",
            f"--pwfile={secret}", "--encoding=UTF8", "--locale-provider=builtin",
            "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        self._configure()
        self._launch()
        with psycopg.connect(self.conninfo("postgres", "postgres"), autocommit=True) as connection:
            connection.execute(OWNER)
            connection.execute(f"create database {self.database} owner {USER}")

    def _copy(self, source: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        binaries.let_in(self.folder)
        self.data.mkdir(mode=0o700)
        binaries.give(self.data)
        binaries.run(
            "pg_basebackup", "-D", str(self.data), "-d", source, "--checkpoint=fast",
            "--write-recovery-conf", "--wal-method=stream",
        )  # fmt: skip
        self._configure()
        self._launch()

    def _configure(self) -> None:
        lines = {**CONFIGURATION, **self._settings}
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in lines.items())
        if self.data.joinpath("pg_hba.conf").read_text().find("lab replication") < 0:
            with (self.data / "pg_hba.conf").open("a", encoding="utf-8") as file:
                file.write("# lab replication\nhost replication all 127.0.0.1/32 scram-sha-256\n")

    def _launch(self) -> None:
        self.process.start()
        self.process.await_port(self.port)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.conninfo("postgres", "postgres")).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or not self.process.is_running:
                    raise StartError(
                        f"PostgreSQL in {self.folder} does not answer: {error}"
                    ) from None
                time.sleep(0.05)
            else:
                return
