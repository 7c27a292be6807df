"""Which tables belong to a tenant, and which to the installation."""

# Of the installation; in the control database alone, though each shard has them by its schema.
CONTROL_TABLES = frozenset(
    {
        "alembic_version",
        "heartbeat",
        "tenant",
        "api_key",
        "tenant_directory",
        "tenant_move",
        "test_gateway_charge",
        "test_gateway_refund",
    }
)
# A shard's own, about its tenants.
SHARD_TABLES = frozenset(
    {
        "tenant_placement",
        "cache_invalidation",
        "cache_tag",
        "cache_horizon",
        "cdn_purge",
        # A shard's queue: a job acts where its tenant is at home when it runs.
        "procrastinate_jobs",
        "procrastinate_events",
        "procrastinate_workers",
        "procrastinate_periodic_defers",
    }
)
