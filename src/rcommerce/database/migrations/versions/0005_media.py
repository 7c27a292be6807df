"""Media: uploads, and the images that show them."""

from rcommerce.database.migrations import run_sql

revision = "0005_media"
down_revision = "0004_sessions"


def upgrade() -> None:
    """Creates the table, and lets images and variants refer to it."""
    run_sql("0005_media.sql")
