"""The images of an upload, found by it."""

from rcommerce.database.migrations import run_sql

revision = "0007_product_image_media"
down_revision = "0006_media_constraints"


def upgrade() -> None:
    """Creates the index."""
    run_sql("0007_product_image_media.concurrently.sql")
