"""SKUs in any case, and by how they begin."""

from rcommerce.database.migrations import run_sql

revision = "0016_variant_sku_search"
down_revision = "0015_carts_keep_items"


def upgrade() -> None:
    """Creates the index."""
    run_sql("0016_variant_sku_search.concurrently.sql")
