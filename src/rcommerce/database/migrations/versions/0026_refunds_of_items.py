"""Refunds of items and of shipping, also to gift cards and credit."""

from rcommerce.database.migrations import run_sql

revision = "0026_refunds_of_items"
down_revision = "0025_sold_gift_cards"


def upgrade() -> None:
    """Counts what was refunded of each item and order."""
    run_sql("0026_refunds_of_items.sql")
