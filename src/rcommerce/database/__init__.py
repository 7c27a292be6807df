"""Connections to PostgreSQL: `Cluster` gives them out by a tenant's home, `Connection` runs
statements, `translated` names the constraint that refused one."""

from psycopg.types.json import Jsonb

from rcommerce.database.cluster import Cluster
from rcommerce.database.connection import Connection, Statement
from rcommerce.database.constraints import translated
from rcommerce.database.homes import Home, TenantFenced, TenantMoved
from rcommerce.database.shard import Freshness

__all__ = [
    "Cluster",
    "Connection",
    "Freshness",
    "Home",
    "Jsonb",
    "Statement",
    "TenantFenced",
    "TenantMoved",
    "translated",
]
