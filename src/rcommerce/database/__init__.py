"""Connections to PostgreSQL: `Cluster` gives them out by a tenant's home, `Connection` runs
statements, `translated` names the constraint that refused one."""

from psycopg.types.json import Jsonb

from rcommerce.database.assignment import ShardAssignment, TenantFenced, TenantMoved
from rcommerce.database.cluster import Cluster
from rcommerce.database.connection import Connection, Statement
from rcommerce.database.constraints import translated
from rcommerce.database.shard import Freshness

__all__ = [
    "Cluster",
    "Connection",
    "Freshness",
    "Jsonb",
    "ShardAssignment",
    "Statement",
    "TenantFenced",
    "TenantMoved",
    "translated",
]
