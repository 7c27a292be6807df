"""The references to media hold for old rows, too."""

from rcommerce.database.migrations import run_sql

revision = "0006_media_constraints"
down_revision = "0005_media"


def upgrade() -> None:
    """Validates the constraints."""
    run_sql("0006_media_constraints.sql")
