"""Features of PgBouncer in transaction mode, where each transaction may run on another server
connection."""

from typing import Any

import psycopg
from psycopg.rows import tuple_row

# PgBouncer 1.21 and newer keep track of prepared statements where max_prepared_statements is set,
# and give each a name of their own: https://www.pgbouncer.org/config.html#max_prepared_statements
RENAMED = "PGBOUNCER_%"


async def keeps_prepared_statements(raw: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the pooler in between makes prepared statements safe.

    Detected by trying, since PgBouncer tells its version to its administrators only: inside a
    transaction a statement is prepared, and PostgreSQL is asked for its name.
    """
    before = raw.prepare_threshold
    raw.prepare_threshold = 1  # without a threshold, psycopg never prepares
    try:
        async with raw.transaction():
            cursor = raw.cursor(row_factory=tuple_row)
            await cursor.execute("select 1 where %s = 1", (1,), prepare=True)
            await cursor.execute(
                "select count(*) from pg_prepared_statements where name like %s",
                (RENAMED,),
                prepare=False,
            )
            row = await cursor.fetchone()
            keeps = row is not None and row[0] > 0
            if not keeps:
                # It is on the server connection, which the next client gets: it must be removed.
                await cursor.execute("deallocate all", prepare=False)
    except psycopg.Error:
        return False
    finally:
        raw.prepare_threshold = before
    return keeps
