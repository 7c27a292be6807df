"""What an order costs PostgreSQL beside its work."""

from rcommerce.database.migrations import run_sql

revision = "0014_cheaper_orders"
down_revision = "0013_product_trigrams"


def upgrade() -> None:
    """Changes a function, and drops foreign keys that others imply."""
    run_sql("0014_cheaper_orders.sql")
