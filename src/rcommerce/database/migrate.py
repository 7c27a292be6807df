"""Brings databases to the newest revision, one after the other."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from rcommerce.database import migrations
from rcommerce.database.server import session_settings
from rcommerce.errors import StartError
from rcommerce.settings import DatabaseSettings

ASK_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Report:
    """What was done to one database: its revisions, or why nothing could be done."""

    name: str
    before: str | None = None
    after: str | None = None
    error: str | None = None


def revision(dsn: str) -> str | None:
    """The revision that the database is at; None for an empty one. Raises StartError."""
    with _connected(dsn) as connection:
        row = connection.execute("select to_regclass('alembic_version')").fetchone()
        if row is None or row[0] is None:
            return None
        found = connection.execute("select version_num from alembic_version").fetchone()
        return found[0] if found else None


def is_served(found: str | None) -> bool:
    """Whether this release can serve a database of that revision: its own or a newer one, as a
    step takes nothing away that the release before it uses."""
    return found is not None and found >= migrations.head()


def upgrade(dsn: str) -> tuple[str | None, str]:
    """Runs what is missing; returns the revision before and after. Raises StartError.

    Each step is committed by itself: after a failure the next run goes on where this one ended.
    Two at once are safe: the second waits for the first, and finds nothing left to do.
    """
    before = revision(dsn)
    if before == migrations.head():
        return before, before
    with _locked(dsn):
        before = revision(dsn)
        if before != migrations.head():
            _run(dsn)
    return before, migrations.head()


def upgrade_all(databases: dict[str, str]) -> Iterator[Report]:
    """Upgrades databases, by their names and connection strings; reports each when it is done. One
    that fails keeps no other from being upgraded."""
    for name, dsn in databases.items():
        try:
            before, after = upgrade(dsn)
        except StartError as error:
            yield Report(name, error=str(error))
        else:
            yield Report(name, before, after)


def keep_timeouts(dsn: str, limits: DatabaseSettings) -> None:
    """Notes the sessions' timeouts with the role, for this database: what a session asks for at its
    start does not pass a pooler. Raises StartError."""
    # Under the lock: of two at once, PostgreSQL refuses one ("tuple concurrently updated").
    with _locked(dsn) as connection:
        for name, value in session_settings(limits).items():
            connection.execute(
                psycopg.sql.SQL("alter role current_user in database {} set {} = {}").format(
                    psycopg.sql.Identifier(connection.info.dbname),
                    psycopg.sql.Identifier(name),
                    psycopg.sql.Literal(value),
                )
            )


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    try:
        # A pooler before 1.21 loses prepared statements.
        with psycopg.connect(dsn, connect_timeout=5, prepare_threshold=None) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise StartError(f"the database cannot be reached: {str(error).strip()}") from error


@contextlib.contextmanager
def _locked(dsn: str) -> Iterator[psycopg.Connection]:
    """Holds the one lock of the database's migrations, for as long as the transaction that it
    yields: a session's lock would not hold through a pooler."""
    with _connected(dsn) as connection:
        # Asked again and again, each time in a transaction of its own: a `create index
        # concurrently` of the other waits for the end of every transaction that has a snapshot when
        # it looks. Without parameters, so by the simple protocol: the extended one would leave a
        # portal open, and with it a snapshot.
        while True:
            connection.execute("set local statement_timeout = 0")
            connection.execute("set local idle_in_transaction_session_timeout = 0")
            row = connection.execute("select pg_try_advisory_xact_lock(7261)").fetchone()
            if row is not None and row[0]:
                break
            connection.rollback()
            time.sleep(ASK_AGAIN_S)
        yield connection


def _run(dsn: str) -> None:
    # Alembic and SQLAlchemy cost 20 MB and 0.3 s: imported only where there is work.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy import URL
    from sqlalchemy.exc import DBAPIError

    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["url"] = URL.create(
        "postgresql+psycopg", query={key: str(value) for key, value in parts.items()}
    )
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        raise StartError(f"the migration failed: {str(error.orig).strip()}") from error
    except CommandError as error:
        raise StartError(f"the database is of another release: {error}") from error
