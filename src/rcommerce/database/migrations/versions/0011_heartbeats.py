"""What each process of the fleet says of itself."""

from rcommerce.database.migrations import run_sql

revision = "0011_heartbeats"
down_revision = "0010_webhooks"


def upgrade() -> None:
    """Creates the table."""
    run_sql("0011_heartbeats.sql")
