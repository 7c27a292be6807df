"""The variants of an image, found by it."""

from rcommerce.database.migrations import run_sql

revision = "0008_variant_image"
down_revision = "0007_product_image_media"


def upgrade() -> None:
    """Creates the index."""
    run_sql("0008_variant_image.concurrently.sql")
