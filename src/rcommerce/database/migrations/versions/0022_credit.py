"""Gift cards and store credit."""

from rcommerce.database.migrations import run_sql

revision = "0022_credit"
down_revision = "0021_tenant_time_zone"


def upgrade() -> None:
    """Creates the accounts and their ledger."""
    run_sql("0022_credit.sql")
