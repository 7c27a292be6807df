"""Barcodes likewise."""

from rcommerce.database.migrations import run_sql

revision = "0017_variant_barcode_search"
down_revision = "0016_variant_sku_search"


def upgrade() -> None:
    """Creates the index."""
    run_sql("0017_variant_barcode_search.concurrently.sql")
