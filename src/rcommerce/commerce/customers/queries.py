"""SQL of customers, their addresses and their tokens."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rcommerce.commerce.customers.schema import Credentials, RefreshState
from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.commerce.shop import StoredSession
from rcommerce.database import Connection

_CUSTOMER = """json_build_object(
    'id', t.id, 'email', t.email, 'first_name', t.first_name, 'last_name', t.last_name,
    'phone', t.phone, 'accepts_marketing', t.accepts_marketing, 'currency', t.currency,
    'role', t.role, 'created_at', rfc3339(t.created_at), 'updated_at', rfc3339(t.updated_at))"""
_ADDRESS = """json_build_object(
    'id', a.id, 'is_default', a.is_default, 'address', a.address,
    'created_at', rfc3339(a.created_at))"""
_CREDENTIALS = (
    "select id, email, first_name, last_name, password_hash, role, token_version from customer"
)
_SESSION = """
select customer_id, role, token_version, user_agent, address,
       date_part('epoch', created_at) as created_at,
       date_part('epoch', seen_at) as seen_at
  from session"""
_SESSION_HOLDS = """seen_at > now() - make_interval(secs => %(ttl_s)s)
   and created_at > now() - make_interval(secs => %(longest_s)s)"""
KEYS = (Key("t.id", "uuid"),)


async def insert(conn: Connection, values: Mapping[str, Any]) -> bool:
    """A new customer; False if the tenant has this email already."""
    return bool(
        await conn.execute(
            """
            insert into customer (tenant_id, id, email, password_hash, first_name, last_name,
                                  phone, accepts_marketing, currency, role)
            values (%(tenant)s, %(id)s, %(email)s, %(password_hash)s, %(first_name)s,
                    %(last_name)s, %(phone)s, %(accepts_marketing)s, %(currency)s, %(role)s)
            on conflict (tenant_id, email) do nothing
            """,
            values,
        )
    )


async def credentials(conn: Connection, tenant: UUID, email: str) -> Credentials | None:
    """The customer of this email."""
    return await conn.record(
        Credentials,
        f"{_CREDENTIALS} where (tenant_id, email) = (%(tenant)s, %(email)s)",
        {"tenant": tenant, "email": email},
    )


async def credentials_of(conn: Connection, tenant: UUID, customer: UUID) -> Credentials | None:
    """The customer of this id."""
    return await conn.record(
        Credentials,
        f"{_CREDENTIALS} where (tenant_id, id) = (%(tenant)s, %(customer)s)",
        {"tenant": tenant, "customer": customer},
    )


async def insert_refresh(
    conn: Connection, tenant: UUID, token_hash: bytes, family: UUID, customer: UUID, days: int
) -> None:
    """A refresh token of a family."""
    await conn.execute(
        """
        insert into refresh_token (tenant_id, token_hash, family_id, customer_id, expires_at)
        values (%(tenant)s, %(hash)s, %(family)s, %(customer)s,
                now() + make_interval(days => %(days)s))
        """,
        {
            "tenant": tenant,
            "hash": token_hash,
            "family": family,
            "customer": customer,
            "days": days,
        },
    )


async def use_refresh(conn: Connection, tenant: UUID, token_hash: bytes) -> RefreshState | None:
    """Marks a refresh token as used; returns its previous state, None if it is unknown."""
    return await conn.record(
        RefreshState,
        """
        with before as (
            select family_id, customer_id, used_at is not null as was_used,
                   revoked_at is not null or expires_at < now() as is_over
              from refresh_token where (tenant_id, token_hash) = (%(tenant)s, %(hash)s)
               for update
        ), used as (
            update refresh_token set used_at = coalesce(used_at, now())
             where (tenant_id, token_hash) = (%(tenant)s, %(hash)s)
               and exists (select from before)
        )
        select family_id, customer_id, was_used, is_over from before
        """,
        {"tenant": tenant, "hash": token_hash},
    )


async def revoke_family(conn: Connection, tenant: UUID, family: UUID) -> None:
    """Revokes every refresh token that descends from one login."""
    await conn.execute(
        """
        update refresh_token set revoked_at = now()
         where (tenant_id, family_id) = (%(tenant)s, %(family)s) and revoked_at is null
        """,
        {"tenant": tenant, "family": family},
    )


async def revoke_all(conn: Connection, tenant: UUID, customer: UUID) -> None:
    """Revokes every refresh token of a customer."""
    await conn.execute(
        """
        update refresh_token set revoked_at = now()
         where (tenant_id, customer_id) = (%(tenant)s, %(customer)s) and revoked_at is null
        """,
        {"tenant": tenant, "customer": customer},
    )


async def standing(conn: Connection, tenant: UUID, customer: UUID) -> bytes | None:
    """Which tokens of a customer are valid, as JSON; None if there is no such customer."""
    return await conn.json_or_none(
        """
        select json_build_object('token_version', t.token_version, 'revoked',
                   coalesce((select json_agg(r.token_id) from revoked_token r
                              where (r.tenant_id, r.customer_id) = (t.tenant_id, t.id)
                                and r.expires_at > now()), '[]'))
          from customer t where (t.tenant_id, t.id) = (%(tenant)s, %(customer)s)
        """,
        {"tenant": tenant, "customer": customer},
    )


async def revoke_token(
    conn: Connection, tenant: UUID, customer: UUID, token: UUID, expires_at: float
) -> None:
    """Revokes an access token; deletes the expired ones. `expires_at` is in seconds since 1970."""
    await conn.execute(
        """
        with old as (
            delete from revoked_token
             where (tenant_id, customer_id) = (%(tenant)s, %(customer)s) and expires_at < now()
        )
        insert into revoked_token (tenant_id, token_id, customer_id, expires_at)
        values (%(tenant)s, %(token)s, %(customer)s, to_timestamp(%(expires_at)s))
        on conflict do nothing
        """,
        {"tenant": tenant, "customer": customer, "token": token, "expires_at": expires_at},
    )


async def end_all_tokens(conn: Connection, tenant: UUID, customer: UUID) -> None:
    """Revokes every access token and session of a customer."""
    await conn.execute(
        """
        update customer set token_version = token_version + 1
         where (tenant_id, id) = (%(tenant)s, %(customer)s)
        """,
        {"tenant": tenant, "customer": customer},
    )


async def insert_session(
    conn: Connection, tenant: UUID, token_hash: str, session: StoredSession
) -> None:
    """A new session."""
    await conn.execute(
        """
        insert into session (tenant_id, token_hash, customer_id, role, token_version, user_agent,
                             address)
        values (%(tenant)s, %(hash)s, %(customer)s, %(role)s, %(version)s, %(agent)s, %(address)s)
        """,
        {
            "tenant": tenant,
            "hash": token_hash,
            "customer": session.customer_id,
            "role": session.role,
            "version": session.token_version,
            "agent": session.user_agent,
            "address": session.address,
        },
    )


async def session(
    conn: Connection, tenant: UUID, token_hash: str, ttl_s: int, longest_s: int
) -> StoredSession | None:
    """The session of a hash, unless it has expired."""
    return await conn.record(
        StoredSession,
        f"""{_SESSION} where (tenant_id, token_hash) = (%(tenant)s, %(hash)s)
               and {_SESSION_HOLDS}""",
        {"tenant": tenant, "hash": token_hash, "ttl_s": ttl_s, "longest_s": longest_s},
    )


async def sessions(
    conn: Connection, tenant: UUID, customer: UUID, ttl_s: int, longest_s: int
) -> list[tuple[str, StoredSession]]:
    """A customer's sessions with their hashes."""
    rows = await conn.all(
        f"""
        select s.token_hash, s.customer_id, s.role, s.token_version, s.user_agent, s.address,
               date_part('epoch', s.created_at), date_part('epoch', s.seen_at)
          from session s
         where (s.tenant_id, s.customer_id) = (%(tenant)s, %(customer)s) and {_SESSION_HOLDS}
        """,
        {"tenant": tenant, "customer": customer, "ttl_s": ttl_s, "longest_s": longest_s},
    )
    fields = StoredSession.__struct_fields__
    return [(row[0], StoredSession(**dict(zip(fields, row[1:], strict=True)))) for row in rows]


async def touch_session(conn: Connection, tenant: UUID, token_hash: str) -> None:
    """Records that a session was used now."""
    await conn.execute(
        """
        update session set seen_at = now()
         where (tenant_id, token_hash) = (%(tenant)s, %(hash)s)
        """,
        {"tenant": tenant, "hash": token_hash},
    )


async def end_sessions(
    conn: Connection, tenant: UUID, customer: UUID, token_hashes: list[str]
) -> None:
    """Deletes some of a customer's sessions."""
    await conn.execute(
        """
        delete from session
         where (tenant_id, customer_id) = (%(tenant)s, %(customer)s)
           and token_hash = any(%(hashes)s)
        """,
        {"tenant": tenant, "customer": customer, "hashes": token_hashes},
    )


async def forget_sessions(
    conn: Connection, tenant: UUID, customer: UUID, ttl_s: int, longest_s: int
) -> None:
    """Deletes a customer's expired sessions."""
    await conn.execute(
        f"""
        delete from session
         where (tenant_id, customer_id) = (%(tenant)s, %(customer)s) and not ({_SESSION_HOLDS})
        """,
        {"tenant": tenant, "customer": customer, "ttl_s": ttl_s, "longest_s": longest_s},
    )


async def insert_reset(
    conn: Connection, tenant: UUID, token_hash: bytes, customer: UUID, minutes: int
) -> None:
    """A password reset, valid for some minutes."""
    await conn.execute(
        """
        insert into password_reset (tenant_id, token_hash, customer_id, expires_at)
        values (%(tenant)s, %(hash)s, %(customer)s, now() + make_interval(mins => %(minutes)s))
        """,
        {"tenant": tenant, "hash": token_hash, "customer": customer, "minutes": minutes},
    )


async def use_reset(conn: Connection, tenant: UUID, token_hash: bytes) -> UUID | None:
    """Uses a reset; returns the customer, or None if it is unknown, used or expired."""
    customer: UUID | None = await conn.value(
        """
        update password_reset set used_at = now()
         where (tenant_id, token_hash) = (%(tenant)s, %(hash)s)
           and used_at is null and expires_at > now()
        returning customer_id
        """,
        {"tenant": tenant, "hash": token_hash},
    )
    return customer


async def set_password(conn: Connection, tenant: UUID, customer: UUID, password_hash: str) -> None:
    """A new password's hash."""
    await conn.execute(
        """
        update customer set password_hash = %(hash)s, updated_at = now()
         where (tenant_id, id) = (%(tenant)s, %(customer)s)
        """,
        {"tenant": tenant, "customer": customer, "hash": password_hash},
    )


async def customer(conn: Connection, tenant: UUID, customer_id: UUID) -> bytes | None:
    """A customer as JSON."""
    return await conn.json_or_none(
        f"""
        select {_CUSTOMER} from customer t
         where (t.tenant_id, t.id) = (%(tenant)s, %(customer)s)
        """,
        {"tenant": tenant, "customer": customer_id},
    )


async def customers(conn: Connection, tenant: UUID, window: Window, email: str | None) -> bytes:
    """A page of customers as JSON, newest first."""
    where = "t.tenant_id = %(tenant)s"
    if email is not None:
        where += " and t.email = %(email)s"
    sql = list_sql(
        name="customers",
        table="customer",
        where=where,
        row=_CUSTOMER,
        keys=KEYS,
        descending=True,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, "email": email, **window.params()})


async def update(
    conn: Connection, tenant: UUID, customer_id: UUID, values: Mapping[str, Any]
) -> None:
    """Sets columns of a customer."""
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    await conn.execute(
        f"""
        update customer set {assignments} updated_at = now()
         where (tenant_id, id) = (%(_tenant)s, %(_customer)s)
        """,
        {**values, "_tenant": tenant, "_customer": customer_id},
    )


async def addresses(conn: Connection, tenant: UUID, customer_id: UUID) -> bytes:
    """A customer's addresses as JSON, the default one first."""
    return await conn.json(
        f"""
        select json_build_object('addresses',
                   coalesce(json_agg({_ADDRESS} order by a.is_default desc, a.id), '[]'))
          from customer_address a
         where (a.tenant_id, a.customer_id) = (%(tenant)s, %(customer)s)
        """,
        {"tenant": tenant, "customer": customer_id},
    )


async def address(
    conn: Connection, tenant: UUID, customer_id: UUID, address_id: UUID
) -> bytes | None:
    """One address of a customer as JSON."""
    return await conn.json_or_none(
        f"""
        select json_build_object('address', {_ADDRESS}) from customer_address a
         where (a.tenant_id, a.customer_id, a.id) = (%(tenant)s, %(customer)s, %(address)s)
        """,
        {"tenant": tenant, "customer": customer_id, "address": address_id},
    )


async def put_address(
    conn: Connection,
    tenant: UUID,
    customer_id: UUID,
    address_id: UUID,
    value: Any,
    *,
    is_default: bool,
) -> bool:
    """Creates or replaces an address; False if the id is another customer's.

    The first address is the default one, and there is at most one default.
    """
    return bool(
        await conn.execute(
            """
            with others as (
                update customer_address set is_default = false
                 where (tenant_id, customer_id) = (%(tenant)s, %(customer)s)
                   and id <> %(address)s and is_default and %(is_default)s
            )
            insert into customer_address as kept (tenant_id, id, customer_id, address, is_default)
            select %(tenant)s, %(address)s, %(customer)s, %(value)s,
                   %(is_default)s or not exists (
                       select from customer_address
                        where (tenant_id, customer_id) = (%(tenant)s, %(customer)s))
            on conflict (tenant_id, id) do update
               set address = excluded.address, is_default = excluded.is_default
             where kept.customer_id = %(customer)s
            """,
            {
                "tenant": tenant,
                "customer": customer_id,
                "address": address_id,
                "value": value,
                "is_default": is_default,
            },
        )
    )


async def delete_address(
    conn: Connection, tenant: UUID, customer_id: UUID, address_id: UUID
) -> bool:
    """Deletes an address; False if the customer has no such one."""
    return bool(
        await conn.execute(
            """
            delete from customer_address
             where (tenant_id, customer_id, id) = (%(tenant)s, %(customer)s, %(address)s)
            """,
            {"tenant": tenant, "customer": customer_id, "address": address_id},
        )
    )
