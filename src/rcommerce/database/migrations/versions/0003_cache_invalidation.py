"""What a write makes untrue of the answers that are kept elsewhere."""

from rcommerce.database.migrations import run_sql

revision = "0003_cache_invalidation"
down_revision = "0002_tenant_placement"


def upgrade() -> None:
    """Creates the tags, the triggers that collect them, and the function that publishes them."""
    run_sql("0003_cache_invalidation.sql")
