"""The words that products are found by."""

from rcommerce.database.migrations import run_sql

revision = "0012_search_words"
down_revision = "0011_heartbeats"


def upgrade() -> None:
    """Creates the table, its triggers, and what looks words up in it."""
    run_sql("0012_search_words.sql")
