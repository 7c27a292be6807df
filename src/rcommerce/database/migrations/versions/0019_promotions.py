"""Promotions and coupons."""

from rcommerce.database.migrations import run_sql

revision = "0019_promotions"
down_revision = "0018_variant_weight"


def upgrade() -> None:
    """Creates the tables, and adds columns for discounts."""
    run_sql("0019_promotions.sql")
