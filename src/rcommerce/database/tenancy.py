"""Which tables belong to tenants, and which to the installation."""

# Of the installation: used in the control database only, though each shard's schema has them.
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
# Of a shard, about its tenants.
SHARD_TABLES = frozenset(
    {
        "tenant_placement",
        "cache_invalidation",
        "cache_tag",
        "cache_horizon",
        "cdn_purge",
        # A shard's queue: a job acts on the shard of its tenant at the time it runs.
        "procrastinate_jobs",
        "procrastinate_events",
        "procrastinate_workers",
        "procrastinate_periodic_defers",
    }
)
