"""Variants have a weight and a tariff code."""

from rcommerce.database.migrations import run_sql

revision = "0018_variant_weight"
down_revision = "0017_variant_barcode_search"


def upgrade() -> None:
    """Adds columns; no row is rewritten."""
    run_sql("0018_variant_weight.sql")
