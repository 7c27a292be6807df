"""A cart keeps what its buyer was shown."""

from rcommerce.database.migrations import run_sql

revision = "0015_carts_keep_items"
down_revision = "0014_cheaper_orders"


def upgrade() -> None:
    """Adds columns, and drops a foreign key that emptied carts."""
    run_sql("0015_carts_keep_items.sql")
