"""Search needs the trigrams of products no more: it has those of their words."""

from rcommerce.database.migrations import run_sql

revision = "0013_product_trigrams"
down_revision = "0012_search_words"


def upgrade() -> None:
    """Drops the index."""
    run_sql("0013_product_trigrams.concurrently.sql")
