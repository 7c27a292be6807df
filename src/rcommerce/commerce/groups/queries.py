"""SQL of customer groups."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.database import Connection

_JSON = """json_build_object(
    'id', t.id, 'name', t.name, 'description', t.description,
    'customer_count', (select count(*) from customer_group_member m
                        where (m.tenant_id, m.group_id) = (t.tenant_id, t.id)),
    'created_at', rfc3339(t.created_at), 'updated_at', rfc3339(t.updated_at))"""
KEYS = (Key("t.created_at", "timestamptz"), Key("t.id", "uuid"))
MEMBER_KEYS = (Key("t.customer_id", "uuid"),)


async def one(conn: Connection, tenant: UUID, group: UUID) -> tuple[str, bytes] | None:
    """Version and JSON of a group."""
    row = await conn.raw_row(
        f"""
        select t.version::text, json_build_object('customer_group', {_JSON}) from customer_group t
         where (t.tenant_id, t.id) = (%(tenant)s, %(group)s)
        """,
        {"tenant": tenant, "group": group},
    )
    return (row[0].decode(), row[1]) if row else None


async def page(conn: Connection, tenant: UUID, window: Window) -> bytes:
    """A page of groups as JSON, newest first."""
    sql = list_sql(
        name="customer_groups",
        table="customer_group",
        where="t.tenant_id = %(tenant)s",
        row=_JSON,
        keys=KEYS,
        descending=True,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, **window.params()})


async def lock(conn: Connection, tenant: UUID, group: UUID) -> int | None:
    """Locks a group's row; its version."""
    version: int | None = await conn.value(
        """
        select version from customer_group where (tenant_id, id) = (%(tenant)s, %(group)s)
           for no key update
        """,
        {"tenant": tenant, "group": group},
    )
    return version


async def update(conn: Connection, tenant: UUID, group: UUID, values: Mapping[str, Any]) -> None:
    """Sets columns of a group."""
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    await conn.execute(
        f"""
        update customer_group set {assignments} version = version + 1, updated_at = now()
         where (tenant_id, id) = (%(_tenant)s, %(_group)s)
        """,
        {**values, "_tenant": tenant, "_group": group},
    )


async def delete(conn: Connection, tenant: UUID, group: UUID) -> None:
    """Deletes a group; its customers stay."""
    await conn.execute(
        "delete from customer_group where (tenant_id, id) = (%(tenant)s, %(group)s)",
        {"tenant": tenant, "group": group},
    )


async def add(conn: Connection, tenant: UUID, group: UUID, customer: UUID) -> None:
    """Puts a customer into a group."""
    await conn.insert_unless(
        "customer_group_member",
        {"tenant_id": tenant, "group_id": group, "customer_id": customer},
        "tenant_id, group_id, customer_id",
    )


async def remove(conn: Connection, tenant: UUID, group: UUID, customer: UUID) -> bool:
    """Takes a customer out of a group; False if they are not in it."""
    return bool(
        await conn.execute(
            """
            delete from customer_group_member
             where (tenant_id, group_id, customer_id) = (%(tenant)s, %(group)s, %(customer)s)
            """,
            {"tenant": tenant, "group": group, "customer": customer},
        )
    )


async def member_page(conn: Connection, tenant: UUID, group: UUID, window: Window) -> bytes:
    """A page of a group's customers as JSON."""
    sql = list_sql(
        name="customers",
        table="customer_group_member",
        where="(t.tenant_id, t.group_id) = (%(tenant)s, %(group)s)",
        row="""json_build_object(
            'customer_id', t.customer_id,
            'email', (select c.email from customer c
                       where (c.tenant_id, c.id) = (t.tenant_id, t.customer_id)),
            'added_at', rfc3339(t.added_at))""",
        keys=MEMBER_KEYS,
        descending=False,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, "group": group, **window.params()})


async def of_customer(conn: Connection, tenant: UUID, customer: UUID) -> list[UUID]:
    """The groups that a customer is in."""
    rows = await conn.all(
        """
        select group_id from customer_group_member
         where (tenant_id, customer_id) = (%(tenant)s, %(customer)s)
        """,
        {"tenant": tenant, "customer": customer},
    )
    return [row[0] for row in rows]
