"""Channels, price lists, exchange rates and customer groups."""

from rcommerce.database.migrations import run_sql

revision = "0023_channels"
down_revision = "0022_credit"


def upgrade() -> None:
    """Creates the tables, and what keeps the prices of lists of products."""
    run_sql("0023_channels.sql")
