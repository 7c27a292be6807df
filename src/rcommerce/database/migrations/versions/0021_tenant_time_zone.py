"""Tenants have a time zone."""

from rcommerce.database.migrations import run_sql

revision = "0021_tenant_time_zone"
down_revision = "0020_sales_order_email"


def upgrade() -> None:
    """Adds the column; no row is rewritten."""
    run_sql("0021_tenant_time_zone.sql")
