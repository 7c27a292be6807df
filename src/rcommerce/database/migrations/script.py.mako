"""${message}"""

from rcommerce.database.migrations import run_sql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """${message}"""
    run_sql("${up_revision}.sql")
