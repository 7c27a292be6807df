"""Brings a database to the newest revision."""

from pathlib import Path

import psycopg

from rcommerce.database import migrations
from rcommerce.errors import StartError


def revision(dsn: str) -> str | None:
    """The revision that the database is at; None for an empty one. Raises StartError."""
    try:
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            row = connection.execute("select to_regclass('alembic_version')").fetchone()
            if row is None or row[0] is None:
                return None
            found = connection.execute("select version_num from alembic_version").fetchone()
            return found[0] if found else None
    except psycopg.OperationalError as error:
        raise StartError(f"the database cannot be reached: {str(error).strip()}") from error


def upgrade(dsn: str) -> tuple[str | None, str]:
    """Runs what is missing; returns the revision before and after. Raises StartError.

    Two at once are safe: the second waits for the first, and finds nothing left to do.
    """
    before = revision(dsn)
    if before == migrations.head():
        return before, before
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
    return before, migrations.head()
