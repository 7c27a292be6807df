"""Where tenants live."""

from rcommerce.database.migrations import run_sql

revision = "0002_tenant_placement"
down_revision = "0001_shop"


def upgrade() -> None:
    """Creates the directory, the placements and the moves."""
    run_sql("0002_tenant_placement.sql")
