"""A tenant's rows on one server: the tables that hold them, counts, checksums, deletion."""

from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql

from rcommerce.database.tenancy import CONTROL_TABLES, SHARD_TABLES

Sync = psycopg.Connection[tuple[object, ...]]
BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Sums:
    """The number of rows, and the sum of their hashes, which does not depend on their order."""

    rows: int
    checksum: str


def owned(connection: Sync) -> list[str]:
    """The tables with tenants' rows; those that others refer to come first."""
    found = connection.execute(
        """
        select c.relname
          from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
         where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
         order by 1
        """
    ).fetchall()
    tables = [str(row[0]) for row in found]
    tables = [name for name in tables if name not in CONTROL_TABLES | SHARD_TABLES]
    references = connection.execute(
        """
        select a.relname, b.relname from pg_constraint k
          join pg_class a on a.oid = k.conrelid
          join pg_class b on b.oid = k.confrelid
         where k.contype = 'f' and a.oid <> b.oid
        """
    ).fetchall()
    needs = {
        name: {str(to) for of, to in references if of == name and to in tables} for name in tables
    }
    ordered: list[str] = []
    while needs:
        ready = sorted(name for name, others in needs.items() if others <= set(ordered))
        if not ready:
            raise LookupError(f"the tables {sorted(needs)} refer to each other in a circle")
        ordered += ready
        for name in ready:
            del needs[name]
    return ordered


def count(connection: Sync, table: str, tenant: UUID) -> int:
    """How many rows a tenant has."""
    statement = sql.SQL("select count(*) from {} where tenant_id = %s").format(
        sql.Identifier(table)
    )
    row = connection.execute(statement, (tenant,)).fetchone()
    return int(str(row[0])) if row else 0


def sums(connection: Sync, table: str, tenant: UUID) -> Sums:
    """Counts and checksums of the tenant's rows. Generated columns are left out: each server
    computes them."""
    found = connection.execute(
        """
        select attname from pg_attribute
         where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = ''
         order by attname
        """,
        (table,),
    ).fetchall()
    columns = sql.SQL(", ").join(sql.Identifier(str(row[0])) for row in found)
    statement = sql.SQL(
        "select count(*), coalesce(sum(hash_record_extended(row({}), 0)::numeric), 0)::text"
        " from {} where tenant_id = %s"
    ).format(columns, sql.Identifier(table))
    row = connection.execute(statement, (tenant,)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate has a row
    return Sums(int(str(row[0])), str(row[1]))


def drop(connection: Sync, table: str, tenant: UUID) -> int:
    """Deletes a tenant's rows in small transactions; returns how many."""
    refers_to_itself = connection.execute(
        """
        select 1 from pg_constraint
         where contype = 'f' and conrelid = %(table)s::regclass and confrelid = %(table)s::regclass
        """,
        {"table": table},
    ).fetchone()
    if refers_to_itself:
        statement = sql.SQL("delete from {table} where tenant_id = %(tenant)s")
    else:
        statement = sql.SQL(
            "delete from {table} where tenant_id = %(tenant)s and ctid = any(array("
            "select ctid from {table} where tenant_id = %(tenant)s limit {batch}))"
        )
    composed = statement.format(table=sql.Identifier(table), batch=sql.Literal(BATCH))
    gone = 0
    while True:
        done = connection.execute(composed, {"tenant": tenant}).rowcount
        gone += done
        if done == 0 or refers_to_itself:
            return gone


def clear(connection: Sync, tenant: UUID) -> int:
    """Deletes everything of a tenant; returns the number of rows."""
    return sum(drop(connection, table, tenant) for table in reversed(owned(connection)))
