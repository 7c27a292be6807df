"""Migrates databases to the newest revision, one after another."""

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
    """The result for one database: its revisions, or why it failed."""

    name: str
    before: str | None = None
    after: str | None = None
    error: str | None = None


def revision(dsn: str) -> str | None:
    """A database's revision; None for an empty one. Raises StartError."""
    with _connected(dsn) as connection:
        row = connection.execute("select to_regclass('alembic_version')").fetchone()
        if row is None or row[0] is None:
            return None
        found = connection.execute("select version_num from alembic_version").fetchone()
        return found[0] if found else None


def is_served(found: str | None) -> bool:
    """Whether this release can serve a database of that revision: its own or a newer one, since a
    migration removes nothing that the previous release uses."""
    return found is not None and found >= migrations.head()


def upgrade(dsn: str) -> tuple[str | None, str]:
    """Runs the missing migrations; returns the revision before and after. Raises StartError.

    Each migration is committed by itself: after a failure the next run continues there. It is safe
    to run concurrently: the second one waits for the first, and has nothing left to do.
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
    """Upgrades databases, by name and connection string; reports each when it is done. A failure
    does not stop the others."""
    for name, dsn in databases.items():
        try:
            before, after = upgrade(dsn)
        except StartError as error:
            yield Report(name, error=str(error))
        else:
            yield Report(name, before, after)


def keep_timeouts(dsn: str, limits: DatabaseSettings) -> None:
    """Stores the sessions' timeouts with the role, for this database: a pooler does not pass on
    what a session sets at its start. Raises StartError."""
    # Under the lock: of two concurrent ones, PostgreSQL would reject one ("tuple concurrently
    # updated").
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
    """Holds the lock for migrations of the database during the transaction that it yields: a
    session's lock would not hold through a pooler."""
    with _connected(dsn) as connection:
        # Polls, each time in a transaction of its own: a concurrent `create index concurrently`
        # waits for the end of every transaction that has a snapshot when it looks. The statement
        # has no parameters, so the simple protocol is used: the extended one would leave a portal
        # open, and with it a snapshot.
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
    # Alembic and SQLAlchemy cost 20 MB and 0.3 s: imported only if there is work.
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
