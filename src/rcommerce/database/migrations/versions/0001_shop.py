"""The shop."""

from rcommerce.database.migrations import run_sql

revision = "0001_shop"
down_revision = None


def upgrade() -> None:
    """Creates every table of the shop."""
    run_sql("0001_shop.sql")
