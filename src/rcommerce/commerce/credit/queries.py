"""SQL of gift cards and store credit. A balance is that of the account's last entry; whoever adds
one has locked the account's row."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from rcommerce.commerce.credit.schema import Account
from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.database import Connection

_LAST = """(select e.balance from credit_entry e
             where (e.tenant_id, e.account_id) = (t.tenant_id, t.id)
             order by e.number desc limit 1)"""
_FIRST = """(select e.amount from credit_entry e
              where (e.tenant_id, e.account_id, e.number) = (t.tenant_id, t.id, 1))"""
_CARD = f"""json_build_object(
    'id', t.id, 'last_characters', t.last_characters, 'currency', t.currency,
    'balance', {_LAST}::text, 'issued', {_FIRST}::text, 'is_active', t.is_active,
    'expires_at', rfc3339(t.expires_at), 'recipient_email', t.recipient_email, 'note', t.note,
    'created_at', rfc3339(t.created_at))"""
_SPENDABLE = "t.is_active and (t.expires_at is null or t.expires_at > now())"
KEYS = (Key("t.created_at", "timestamptz"), Key("t.id", "uuid"))


async def insert(conn: Connection, values: Mapping[str, Any]) -> None:
    """A new account."""
    await conn.insert("credit_account", values)


async def card(conn: Connection, tenant: UUID, account: UUID) -> bytes | None:
    """A gift card as JSON."""
    return await conn.json_or_none(
        f"""
        select {_CARD} from credit_account t
         where (t.tenant_id, t.id) = (%(tenant)s, %(account)s) and t.kind = 'gift_card'
        """,
        {"tenant": tenant, "account": account},
    )


async def cards(conn: Connection, tenant: UUID, window: Window) -> bytes:
    """A page of gift cards as JSON, newest first."""
    sql = list_sql(
        name="gift_cards",
        table="credit_account",
        where="t.tenant_id = %(tenant)s and t.kind = 'gift_card'",
        row=_CARD,
        keys=KEYS,
        descending=True,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, **window.params()})


async def update(conn: Connection, tenant: UUID, account: UUID, values: Mapping[str, Any]) -> bool:
    """Sets columns of a gift card; False if there is none."""
    assignments = ", ".join(f"{name} = %({name})s" for name in values) or "id = id"
    return bool(
        await conn.execute(
            f"""
            update credit_account set {assignments}
             where (tenant_id, id) = (%(_tenant)s, %(_account)s) and kind = 'gift_card'
            """,
            {**values, "_tenant": tenant, "_account": account},
        )
    )


async def by_code(conn: Connection, tenant: UUID, code_hash: bytes) -> UUID | None:
    """The gift card of a code's hash."""
    found: UUID | None = await conn.value(
        "select id from credit_account where (tenant_id, code_hash) = (%(tenant)s, %(hash)s)",
        {"tenant": tenant, "hash": code_hash},
    )
    return found


async def of_customer(conn: Connection, tenant: UUID, customer: UUID, currency: str) -> UUID | None:
    """A customer's credit account in a currency."""
    found: UUID | None = await conn.value(
        """
        select id from credit_account
         where (tenant_id, customer_id, currency) = (%(tenant)s, %(customer)s, %(currency)s)
           and kind = 'store_credit'
        """,
        {"tenant": tenant, "customer": customer, "currency": currency},
    )
    return found


async def make_for_customer(
    conn: Connection, tenant: UUID, account: UUID, customer: UUID, currency: str
) -> UUID:
    """A customer's credit account in a currency, made where there is none; its row is locked."""
    row = await conn.one(
        """
        insert into credit_account as t (tenant_id, id, kind, currency, customer_id)
        values (%(tenant)s, %(account)s, 'store_credit', %(currency)s, %(customer)s)
        on conflict (tenant_id, customer_id, currency) where kind = 'store_credit'
        do update set currency = t.currency
        returning id
        """,
        {"tenant": tenant, "account": account, "customer": customer, "currency": currency},
    )
    return UUID(str(row[0]))


async def hold(conn: Connection, tenant: UUID, accounts: Sequence[UUID]) -> None:
    """Locks accounts, in one order."""
    await conn.execute(
        """
        select id from credit_account
         where tenant_id = %(tenant)s and id = any(%(accounts)s::uuid[])
         order by id
           for no key update
        """,
        {"tenant": tenant, "accounts": list(accounts)},
    )


async def spendable(conn: Connection, tenant: UUID, accounts: Sequence[UUID]) -> list[Account]:
    """Those of these accounts that can pay, in the order given."""
    return await conn.records(
        Account,
        f"""
        select t.id, t.kind, t.last_characters, t.currency, {_LAST} as balance
          from credit_account t
         where t.tenant_id = %(tenant)s and t.id = any(%(accounts)s::uuid[]) and {_SPENDABLE}
         order by array_position(%(accounts)s::uuid[], t.id)
        """,
        {"tenant": tenant, "accounts": list(accounts)},
    )


async def add_entry(
    conn: Connection,
    tenant: UUID,
    account: UUID,
    *,
    kind: str,
    amount: Decimal,
    order: UUID | None = None,
    actor: str,
    note: str = "",
) -> bool:
    """Changes the balance of an account whose row is locked; False if it would be negative."""
    return bool(
        await conn.execute(
            """
            insert into credit_entry (tenant_id, account_id, number, kind, amount, balance_before,
                                      balance, order_id, actor, note)
            select %(tenant)s, %(account)s, coalesce(max(last.number), 0) + 1, %(kind)s,
                   %(amount)s, coalesce(max(last.balance), 0),
                   coalesce(max(last.balance), 0) + %(amount)s, %(order)s, %(actor)s, %(note)s
              from (select number, balance from credit_entry
                     where (tenant_id, account_id) = (%(tenant)s, %(account)s)
                     order by number desc limit 1) last
            having coalesce(max(last.balance), 0) + %(amount)s >= 0
            """,
            {
                "tenant": tenant,
                "account": account,
                "kind": kind,
                "amount": amount,
                "order": order,
                "actor": actor,
                "note": note,
            },
        )
    )


async def taken_by(conn: Connection, tenant: UUID, order: UUID) -> list[tuple[UUID, Decimal]]:
    """(account, amount) that an order has taken and not given back."""
    rows = await conn.all(
        """
        select e.account_id, -sum(e.amount) from credit_entry e
         where (e.tenant_id, e.order_id) = (%(tenant)s, %(order)s)
           and e.kind in ('redeemed', 'refunded', 'restored')
         group by e.account_id
        having sum(e.amount) < 0
         order by e.account_id
        """,
        {"tenant": tenant, "order": order},
    )
    return [(row[0], row[1]) for row in rows]


async def entries(conn: Connection, tenant: UUID, account: UUID) -> bytes:
    """The ledger of an account as JSON, oldest first."""
    return await conn.json(
        """
        select json_build_object('entries', coalesce(json_agg(json_build_object(
                   'number', e.number, 'kind', e.kind, 'amount', e.amount::text,
                   'balance', e.balance::text, 'order_id', e.order_id, 'note', e.note,
                   'created_at', rfc3339(e.created_at)) order by e.number), '[]'))
          from credit_entry e where (e.tenant_id, e.account_id) = (%(tenant)s, %(account)s)
        """,
        {"tenant": tenant, "account": account},
    )


async def balance(conn: Connection, tenant: UUID, code_hash: bytes) -> bytes | None:
    """What is left on a gift card that can pay, as JSON."""
    return await conn.json_or_none(
        f"""
        select json_build_object('balance', {_LAST}::text, 'currency', t.currency,
                                 'expires_at', rfc3339(t.expires_at))
          from credit_account t
         where (t.tenant_id, t.code_hash) = (%(tenant)s, %(hash)s) and {_SPENDABLE}
        """,
        {"tenant": tenant, "hash": code_hash},
    )


async def credit(conn: Connection, tenant: UUID, customer: UUID) -> bytes:
    """A customer's credit as JSON."""
    return await conn.json(
        f"""
        select json_build_object('credit', coalesce(json_agg(json_build_object(
                   'id', t.id, 'currency', t.currency, 'balance', {_LAST}::text)
                   order by t.currency), '[]'))
          from credit_account t
         where (t.tenant_id, t.customer_id) = (%(tenant)s, %(customer)s)
           and t.kind = 'store_credit'
        """,
        {"tenant": tenant, "customer": customer},
    )


async def liability(conn: Connection, tenant: UUID) -> bytes:
    """What can still be spent, by kind and currency, as JSON."""
    return await conn.json(
        f"""
        with open as (
            select t.kind, t.currency, {_LAST} as balance from credit_account t
             where t.tenant_id = %(tenant)s and {_SPENDABLE}
        ), summed as (
            select kind, currency, count(*) as accounts, sum(balance) as balance
              from open where balance > 0 group by kind, currency
        )
        select json_build_object('liability', coalesce(json_agg(json_build_object(
                   'kind', kind, 'currency', currency, 'accounts', accounts,
                   'balance', balance::text) order by kind, currency), '[]'))
          from summed
        """,
        {"tenant": tenant},
    )


class Sold(NamedTuple):
    """A gift card to make for an order: what it is worth, its code's hash, and who gets it."""

    item: UUID
    number: int
    account: UUID
    amount: Decimal
    code_hash: bytes
    last_characters: str


async def bought(
    conn: Connection, tenant: UUID, order: UUID
) -> tuple[str, str, list[tuple[UUID, int, Decimal]]]:
    """(currency, email, [(item, units, price)]) of the gift cards of an order."""
    rows = await conn.all(
        """
        select o.currency, o.customer_email, i.id, i.quantity, i.price
          from sales_order o
          join order_item i on (i.tenant_id, i.order_id) = (o.tenant_id, o.id) and i.is_gift_card
         where (o.tenant_id, o.id) = (%(tenant)s, %(order)s)
         order by i.position
        """,
        {"tenant": tenant, "order": order},
    )
    currency, email = (rows[0][0], rows[0][1]) if rows else ("", "")
    return currency, email, [(row[2], row[3], row[4]) for row in rows]


async def make_sold(
    conn: Connection,
    tenant: UUID,
    order: UUID,
    currency: str,
    email: str,
    cards: Sequence[Sold],
    *,
    actor: str,
) -> None:
    """Makes the gift cards of a paid order, in one statement."""
    await conn.execute(
        """
        with card as (
            select * from unnest(%(items)s::uuid[], %(numbers)s::int[], %(accounts)s::uuid[],
                                 %(amounts)s::numeric[], %(hashes)s::bytea[], %(last)s::text[])
                       as w (item, number, account, amount, code_hash, last_characters)
        ), made as (
            insert into credit_account
                (tenant_id, id, kind, currency, code_hash, last_characters, recipient_email)
            select %(tenant)s, account, 'gift_card', %(currency)s, code_hash, last_characters,
                   %(email)s
              from card
        ), filled as (
            insert into credit_entry
                (tenant_id, account_id, number, kind, amount, balance_before, balance, order_id,
                 actor)
            select %(tenant)s, account, 1, 'issued', amount, 0, amount, %(order)s, %(actor)s
              from card
        )
        insert into sold_gift_card (tenant_id, order_item_id, number, order_id, account_id, email)
        select %(tenant)s, item, number, %(order)s, account, %(email)s from card
        """,
        {
            "tenant": tenant,
            "order": order,
            "currency": currency,
            "email": email,
            "actor": actor,
            "items": [each.item for each in cards],
            "numbers": [each.number for each in cards],
            "accounts": [each.account for each in cards],
            "amounts": [each.amount for each in cards],
            "hashes": [each.code_hash for each in cards],
            "last": [each.last_characters for each in cards],
        },
    )


async def withdraw(conn: Connection, tenant: UUID, order: UUID, *, whole: bool) -> None:
    """Deactivates the gift cards that a locked order has bought: of the `whole` order, or of the
    units that were refunded, the last ones of each item."""
    rows = await conn.all(
        """
        select g.account_id
          from sold_gift_card g
          join order_item i on (i.tenant_id, i.id) = (g.tenant_id, g.order_item_id)
         where (g.tenant_id, g.order_id) = (%(tenant)s, %(order)s)
           and (%(whole)s or g.number > i.quantity - i.refunded_quantity)
        """,
        {"tenant": tenant, "order": order, "whole": whole},
    )
    if not rows:
        return
    await conn.execute(
        """
        update credit_account set is_active = false
         where tenant_id = %(tenant)s and id = any(%(accounts)s::uuid[])
        """,
        {"tenant": tenant, "accounts": [row[0] for row in rows]},
    )


# One that was withdrawn before its mail is not mailed.
_UNMAILED = """g.mailed_at is null and exists (
    select from credit_account a
     where (a.tenant_id, a.id) = (g.tenant_id, g.account_id) and a.is_active)"""
# A mail that was begun so long ago was interrupted.
_TO_MAIL = f"""{_UNMAILED}
   and (g.claimed_at is null or g.claimed_at < now() - interval '1 minute')"""


async def with_unmailed(conn: Connection) -> list[UUID]:
    """Tenants of this shard with gift cards to mail."""
    rows = await conn.all(
        f"""
        select p.tenant_id from tenant_placement p
         where p.state = 'active' and exists (
            select from sold_gift_card g where g.tenant_id = p.tenant_id and {_TO_MAIL})
        """
    )
    return [row[0] for row in rows]


async def unmailed(conn: Connection) -> int:
    """How many gift cards of this shard's tenants wait for their mail."""
    count: int = await conn.value(
        f"""
        select count(*)
          from tenant_placement p
          join sold_gift_card g on g.tenant_id = p.tenant_id and {_UNMAILED}
         where p.state = 'active'
        """
    )
    return count


async def claim_unmailed(
    conn: Connection, tenant: UUID, limit: int
) -> list[tuple[UUID, int, UUID, str]]:
    """Gift cards to mail that nobody else is about to: (item, number, account, email)."""
    rows = await conn.all(
        f"""
        update sold_gift_card c set claimed_at = now()
          from (select g.order_item_id, g.number from sold_gift_card g
                 where g.tenant_id = %(tenant)s and {_TO_MAIL}
                 order by g.order_item_id, g.number
                 limit %(limit)s
                   for update skip locked) due
         where (c.tenant_id, c.order_item_id, c.number)
               = (%(tenant)s, due.order_item_id, due.number)
        returning c.order_item_id, c.number, c.account_id, c.email
        """,
        {"tenant": tenant, "limit": limit},
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def value_of(conn: Connection, tenant: UUID, account: UUID) -> tuple[bytes, Decimal, str]:
    """(hash of its code, amount, currency) of a gift card."""
    row = await conn.one(
        """
        select t.code_hash, e.amount, t.currency
          from credit_account t
          join credit_entry e on (e.tenant_id, e.account_id, e.number) = (t.tenant_id, t.id, 1)
         where (t.tenant_id, t.id) = (%(tenant)s, %(account)s)
        """,
        {"tenant": tenant, "account": account},
    )
    return row[0], row[1], row[2]


async def set_mailed(conn: Connection, tenant: UUID, item: UUID, number: int) -> None:
    """Records that a gift card was mailed."""
    await conn.execute(
        """
        update sold_gift_card set mailed_at = now()
         where (tenant_id, order_item_id, number) = (%(tenant)s, %(item)s, %(number)s)
        """,
        {"tenant": tenant, "item": item, "number": number},
    )
