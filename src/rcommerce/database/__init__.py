"""PostgreSQL: the embedded server, connections, migrations."""

from psycopg.types.json import Jsonb

from rcommerce.database.connection import Connection
from rcommerce.database.constraints import translated
from rcommerce.database.database import Database

__all__ = ["Connection", "Database", "Jsonb", "translated"]
