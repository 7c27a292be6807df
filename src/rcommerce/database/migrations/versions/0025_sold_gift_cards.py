"""Gift cards that are bought as a product."""

from rcommerce.database.migrations import run_sql

revision = "0025_sold_gift_cards"
down_revision = "0024_tenant_channel"


def upgrade() -> None:
    """Creates the table of cards, and marks the items and orders with any."""
    run_sql("0025_sold_gift_cards.sql")
