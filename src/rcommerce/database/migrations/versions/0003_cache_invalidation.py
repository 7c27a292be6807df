"""What a write invalidates in caches."""

from rcommerce.database.migrations import run_sql

revision = "0003_cache_invalidation"
down_revision = "0002_tenant_placement"


def upgrade() -> None:
    """Creates the tags, the triggers that collect them, and the function that publishes them."""
    run_sql("0003_cache_invalidation.sql")
