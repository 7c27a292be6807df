"""The default channels of shops and API keys."""

from rcommerce.database.migrations import run_sql

revision = "0024_tenant_channel"
down_revision = "0023_channels"


def upgrade() -> None:
    """Adds the columns."""
    run_sql("0024_tenant_channel.sql")
