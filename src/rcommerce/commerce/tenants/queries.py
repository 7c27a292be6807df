"""SQL of tenants and their API keys."""

from typing import Any
from uuid import UUID

from rcommerce.commerce.shop import Tenant
from rcommerce.database import Connection

_COLUMNS = "select id, slug, name, currency, status from tenant"


async def by_id(conn: Connection, tenant_id: UUID) -> Tenant | None:
    """The tenant of this id."""
    return await conn.record(Tenant, f"{_COLUMNS} where id = %(id)s", {"id": tenant_id})


async def by_host(conn: Connection, host: str) -> Tenant | None:
    """The tenant that answers to this host name, else the default one."""
    sql = f"""
        ({_COLUMNS} where hosts @> array[%(host)s::text] limit 1)
        union all
        ({_COLUMNS} where is_default)
        limit 1
        """
    return await conn.record(Tenant, sql, {"host": host})


async def by_slug(conn: Connection, slug: str) -> Tenant | None:
    """The tenant of this slug."""
    return await conn.record(Tenant, f"{_COLUMNS} where slug = %(slug)s", {"slug": slug})


async def every(conn: Connection) -> list[Tenant]:
    """Every tenant, by slug."""
    return await conn.records(Tenant, f"{_COLUMNS} order by slug")


async def insert(conn: Connection, tenant: Tenant, hosts: list[str], location_id: UUID) -> bool:
    """A new tenant with a warehouse; False where its slug is taken."""
    return bool(
        await conn.execute(
            """
            with made as (
                insert into tenant (id, slug, name, currency, hosts)
                values (%(id)s, %(slug)s, %(name)s, %(currency)s, %(hosts)s)
                on conflict (slug) do nothing
                returning id
            )
            insert into location (tenant_id, id, name, is_default)
            select id, %(location)s, 'Main warehouse', true from made
            """,
            {
                "id": tenant.id,
                "slug": tenant.slug,
                "name": tenant.name,
                "currency": tenant.currency,
                "hosts": hosts,
                "location": location_id,
            },
        )
    )


async def insert_key(
    conn: Connection, tenant: UUID, prefix: str, secret_hash: bytes, name: str, scopes: list[str]
) -> None:
    """A new API key; only the hash of its secret is kept."""
    await conn.execute(
        """
        insert into api_key (prefix, tenant_id, secret_hash, name, scopes)
        values (%(prefix)s, %(tenant)s, %(hash)s, %(name)s, %(scopes)s)
        """,
        {
            "prefix": prefix,
            "tenant": tenant,
            "hash": secret_hash,
            "name": name,
            "scopes": scopes,
        },
    )


async def key(conn: Connection, prefix: str) -> Any:
    """(tenant_id, secret_hash, scopes) of a key that is not revoked, or None."""
    return await conn.one_or_none(
        """
        select tenant_id, secret_hash, scopes from api_key
         where prefix = %(prefix)s and revoked_at is null
        """,
        {"prefix": prefix},
    )


async def keys(conn: Connection, tenant: UUID) -> list[dict[str, Any]]:
    """The tenant's keys, without their secrets."""
    return await conn.dicts(
        """
        select prefix, name, scopes, created_at, revoked_at from api_key
         where tenant_id = %(tenant)s order by created_at
        """,
        {"tenant": tenant},
    )


async def revoke_key(conn: Connection, tenant: UUID, prefix: str) -> bool:
    """Ends a key at once; False where there is none."""
    return bool(
        await conn.execute(
            """
            update api_key set revoked_at = now()
             where (tenant_id, prefix) = (%(tenant)s, %(prefix)s) and revoked_at is null
            """,
            {"tenant": tenant, "prefix": prefix},
        )
    )
