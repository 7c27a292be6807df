"""Connections to PostgreSQL: `Cluster` provides them by a tenant's shard, `Connection` runs
statements, `translated` turns constraint violations into errors of the request."""

from psycopg.types.json import Jsonb

from rcommerce.database.assignment import ShardAssignment, TenantFenced, TenantMoved
from rcommerce.database.cluster import Cluster
from rcommerce.database.connection import Connection, Later, Statement
from rcommerce.database.constraints import held_by, translated
from rcommerce.database.shard import Freshness

__all__ = [
    "Cluster",
    "Connection",
    "Freshness",
    "Jsonb",
    "Later",
    "ShardAssignment",
    "Statement",
    "TenantFenced",
    "TenantMoved",
    "held_by",
    "translated",
]
