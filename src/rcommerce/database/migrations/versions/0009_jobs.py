"""The queue of jobs."""

from rcommerce.database.migrations import run_sql

revision = "0009_jobs"
down_revision = "0008_variant_image"


def upgrade() -> None:
    """Creates Procrastinate's tables and functions."""
    run_sql("0009_jobs.sql")
