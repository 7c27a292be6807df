"""Orders by e-mail address."""

from rcommerce.database.migrations import run_sql

revision = "0020_sales_order_email"
down_revision = "0019_promotions"


def upgrade() -> None:
    """Creates the index."""
    run_sql("0020_sales_order_email.concurrently.sql")
