"""Sessions, tokens that were revoked, and what a CDN has been told."""

from rcommerce.database.migrations import run_sql

revision = "0004_sessions"
down_revision = "0003_cache_invalidation"


def upgrade() -> None:
    """Creates the tables, and the triggers that make a customer's kept answers untrue."""
    run_sql("0004_sessions.sql")
