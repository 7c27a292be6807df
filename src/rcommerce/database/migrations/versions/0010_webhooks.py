"""Webhooks out."""

from rcommerce.database.migrations import run_sql

revision = "0010_webhooks"
down_revision = "0009_jobs"


def upgrade() -> None:
    """Creates the tables, and the triggers that write the messages."""
    run_sql("0010_webhooks.sql")
