"""SQL of webhooks. Triggers write the messages: see migration 0010."""

from collections.abc import Mapping
from typing import Any, LiteralString
from uuid import UUID

from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.commerce.webhooks.schema import Message
from rcommerce.database import Connection

KEYS = (Key("t.created_at", "timestamptz"), Key("t.id", "uuid"))
_SUBSCRIPTION: LiteralString = """json_build_object(
    'id', t.id, 'url', t.url, 'events', to_json(t.events), 'description', t.description,
    'is_active', t.is_active, 'ended_because', t.ended_because,
    'created_at', rfc3339(t.created_at), 'updated_at', rfc3339(t.updated_at))"""
_WITH_SECRET: LiteralString = f"({_SUBSCRIPTION}::jsonb || jsonb_build_object('secret', t.secret))"
_DELIVERY: LiteralString = """json_build_object(
    'id', t.id, 'subscription_id', t.subscription_id, 'event_type', t.event_type,
    'subject', t.subject, 'payload', t.payload, 'state', t.state, 'attempts', t.attempts,
    'response_status', t.response_status, 'error', t.error,
    'attempted_at', rfc3339(t.attempted_at), 'created_at', rfc3339(t.created_at))"""


async def one(conn: Connection, tenant: UUID, subscription: UUID, *, secret: bool) -> bytes | None:
    """A subscription as JSON."""
    row = _WITH_SECRET if secret else _SUBSCRIPTION
    return await conn.json_or_none(
        f"""
        select json_build_object('subscription', {row})
          from webhook_subscription t where (t.tenant_id, t.id) = (%(tenant)s, %(id)s)
        """,
        {"tenant": tenant, "id": subscription},
    )


async def everyone(conn: Connection, tenant: UUID) -> bytes:
    """All subscriptions as JSON."""
    return await conn.json(
        f"""
        select json_build_object(
                   'subscriptions', coalesce(json_agg({_SUBSCRIPTION} order by t.id), '[]'))
          from webhook_subscription t where t.tenant_id = %(tenant)s
        """,
        {"tenant": tenant},
    )


async def count(conn: Connection, tenant: UUID) -> int:
    """How many subscriptions there are."""
    return int(
        await conn.value(
            "select count(*) from webhook_subscription where tenant_id = %(tenant)s",
            {"tenant": tenant},
        )
    )


async def update(
    conn: Connection, tenant: UUID, subscription: UUID, values: Mapping[str, Any]
) -> bool:
    """Sets columns of a subscription; False if there is none."""
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    return bool(
        await conn.execute(
            f"""
            update webhook_subscription set {assignments} updated_at = now()
             where (tenant_id, id) = (%(_tenant)s, %(_id)s)
            """,
            {**values, "_tenant": tenant, "_id": subscription},
        )
    )


async def delete(conn: Connection, tenant: UUID, subscription: UUID) -> bool:
    """Deletes a subscription with its deliveries; False if there is none."""
    return bool(
        await conn.execute(
            "delete from webhook_subscription where (tenant_id, id) = (%(tenant)s, %(id)s)",
            {"tenant": tenant, "id": subscription},
        )
    )


async def deliveries(
    conn: Connection, tenant: UUID, subscription: UUID, state: str | None, window: Window
) -> bytes:
    """A page of a subscription's deliveries as JSON, the newest first."""
    where = "(t.tenant_id, t.subscription_id) = (%(tenant)s, %(subscription)s)"
    sql = list_sql(
        name="deliveries",
        table="webhook_delivery",
        where=where + (" and t.state = %(state)s" if state else ""),
        row=_DELIVERY,
        keys=KEYS,
        descending=True,
        window=window,
    )
    params = {"tenant": tenant, "subscription": subscription, "state": state}
    return await conn.json(sql, {**params, **window.params()})


async def delivery(conn: Connection, tenant: UUID, which: UUID) -> bytes | None:
    """A delivery as JSON."""
    return await conn.json_or_none(
        f"""
        select json_build_object('delivery', {_DELIVERY})
          from webhook_delivery t where (t.tenant_id, t.id) = (%(tenant)s, %(id)s)
        """,
        {"tenant": tenant, "id": which},
    )


async def message(conn: Connection, tenant: UUID, which: UUID) -> Message | None:
    """A delivery, as needed to send it."""
    return await conn.record(
        Message,
        """
        select d.id, d.subscription_id, s.url, s.secret, s.is_active, d.state, d.attempts,
               d.payload::text as body
          from webhook_delivery d
          join webhook_subscription s on (s.tenant_id, s.id) = (d.tenant_id, d.subscription_id)
         where (d.tenant_id, d.id) = (%(tenant)s, %(id)s)
        """,
        {"tenant": tenant, "id": which},
    )


async def note(
    conn: Connection, tenant: UUID, which: UUID, state: str, status: int | None, error: str | None
) -> None:
    """Records the result of an attempt."""
    await conn.execute(
        """
        update webhook_delivery
           set state = %(state)s, attempts = attempts + 1, response_status = %(status)s,
               error = %(error)s, attempted_at = now()
         where (tenant_id, id) = (%(tenant)s, %(id)s)
        """,
        {"tenant": tenant, "id": which, "state": state, "status": status, "error": error},
    )


async def emit_test(conn: Connection, tenant: UUID, subscription: UUID) -> UUID | None:
    """A test message to one subscription."""
    made: UUID | None = await conn.value(
        """
        with made as (
            insert into webhook_delivery
                   (tenant_id, id, subscription_id, event_type, subject, payload)
            select s.tenant_id, new_id(), s.id, 'webhook.test', 'test:' || s.id,
                   jsonb_build_object('type', 'webhook.test', 'timestamp', rfc3339(now()),
                                      'data', jsonb_build_object('subscription_id', s.id))
              from webhook_subscription s where (s.tenant_id, s.id) = (%(tenant)s, %(id)s)
            returning tenant_id, id, subscription_id, subject
        )
        select made.id
          from made, lateral defer_delivery(tenant_id, id, subscription_id, subject)
        """,
        {"tenant": tenant, "id": subscription},
    )
    return made


async def replay(conn: Connection, tenant: UUID, subscription: UUID, which: UUID | None) -> int:
    """Enqueues a subscription's dead messages again, or one in any state, in their order; returns
    how many."""
    found = await conn.all(
        """
        with again as (
            update webhook_delivery set state = 'pending', attempts = 0
             where (tenant_id, subscription_id) = (%(tenant)s, %(subscription)s)
               and case when %(which)s::uuid is null then state = 'dead'
                        else id = %(which)s::uuid end
            returning tenant_id, id, subscription_id, subject, created_at
        )
        select defer_delivery(a.tenant_id, a.id, a.subscription_id, a.subject)::text
          from (select * from again order by created_at, id) a
        """,
        {"tenant": tenant, "subscription": subscription, "which": which},
    )
    return len(found)


async def requeue(conn: Connection, tenant: UUID) -> int:
    """Enqueues messages whose job is lost, such as with a shard that the tenant has left."""
    found = await conn.all(
        """
        select defer_delivery(d.tenant_id, d.id, d.subscription_id, d.subject)::text
          from webhook_delivery d
         where d.tenant_id = %(tenant)s and d.state = 'pending'
           and d.created_at < now() - interval '2 hours'
           and coalesce(d.attempted_at, d.created_at) < now() - interval '2 hours'
        """,
        {"tenant": tenant},
    )
    return len(found)


async def forget_old(conn: Connection, tenant: UUID, days: int) -> int:
    """Deletes completed messages."""
    return await conn.execute(
        """
        delete from webhook_delivery
         where tenant_id = %(tenant)s and state <> 'pending'
           and created_at < now() - make_interval(days => %(days)s)
        """,
        {"tenant": tenant, "days": days},
    )


async def with_messages(conn: Connection) -> list[UUID]:
    """The tenants of a shard that have any."""
    rows = await conn.all(
        """
        select p.tenant_id from tenant_placement p
         where exists (select from webhook_delivery d where d.tenant_id = p.tenant_id)
        """
    )
    return [row[0] for row in rows]
