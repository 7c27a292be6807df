"""PostgreSQL: the embedded server, connections, migrations."""

from rcommerce.database.connection import Connection
from rcommerce.database.database import Database

__all__ = ["Connection", "Database"]
