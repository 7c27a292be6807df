"""Every statement that the shop has sent in all the tests before names its tenant."""

import re
import time
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pglast.parser import ParseError

import rcommerce
from conftest import Api, Fleet
from rcommerce.database.tenancy import CONTROL_TABLES, SHARD_TABLES
from rcommerce.lab.server import Server
from row_locks import Locks
from tenancy import Checker, normalized, statements

SOURCE = Path(rcommerce.__file__).parent
# SQL of tenants' tables is written in these files alone; `test_sql_stands_where_it_is_looked_for`.
FILES = sorted(
    [
        *SOURCE.glob("commerce/*/queries.py"),
        *SOURCE.glob("commerce/*/writes.py"),
        *SOURCE.glob("commerce/catalog/*.py"),
        SOURCE / "commerce/imports/bulk.py",
        SOURCE / "commerce/payments/gateways.py",
        SOURCE / "http/idempotency.py",
    ]
)


# What may be waited for and read beside, and why that is what it was after the wait.
HARMLESS = {
    ("inventory_level", "location"): "which location is the default does not change with stock",
    ("inventory_level", "variant"): "nor does what a variant is",
    ("inventory_level", "reservation"): "who ends one deletes it, before it waits for the level",
    ("payment", "refund"): "who ends one holds it, before it waits for the payment",
    ("tenant", "tenant_directory"): "is written, by its key",
}
HELD_BEFORE = (
    "update product p set version",  # _begin: every change of a product holds it first
    "with made as ( insert into test_gateway_refund",  # by the statement before
)


@pytest.fixture(scope="module")
def sent(fleet: Fleet) -> list[str]:
    """Every statement of the shop's role, on each of its databases."""
    keep_sessions_in_the_database(fleet)
    found: set[str] = set()
    for dsn in fleet.databases:
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(
                "select distinct query from pg_stat_statements s join pg_roles r on r.oid = userid"
                " where rolname = 'rcommerce'"
                " and dbid = (select oid from pg_database where datname = current_database())"
            )
            found |= {row[0] for row in rows}
    return sorted(found)


def keep_sessions_in_the_database(fleet: Fleet) -> None:
    """An instance of the fleet without Redis, for a login and a logout."""
    given = {**fleet.shop.server.settings, "RCOMMERCE_CACHE__CACHE_TYPE": "Memory"}
    given = {key: value for key, value in given.items() if "__REDIS_" not in key}
    # Used a second ago is long enough to be noted.
    given["RCOMMERCE_CACHE__SESSION_CACHE_TTL"] = "4"
    with Server(fleet.shop.server.data_dir / "without-redis", settings=given) as server:
        api = Api(server.url)
        person = {"password": "correct horse battery", "first_name": "Ada", "last_name": "L"}
        email = f"{uuid4().hex}@example.com"
        made = api("POST", "/auth/register", {"email": email, **person}, 201)
        token = made.headers["set-cookie"].partition("session=")[2].partition(";")[0]
        browser = api.by(Cookie=f"session={token}", Origin=server.url)
        time.sleep(1.1)
        browser("GET", "/customers/me", expect=200)
        listed = browser("GET", "/auth/sessions", expect=200).json()["sessions"]
        browser("DELETE", f"/auth/sessions/{listed[0]['id']}", expect=204)
        browser("GET", "/customers/me", expect=401)


@pytest.fixture(scope="module")
def owned(fleet: Fleet) -> set[str]:
    """The tables of tenants, by the system's catalogues."""
    with psycopg.connect(fleet.databases[1]) as connection:
        rows = connection.execute(
            "select relname from pg_class where relkind = 'r'"
            " and relnamespace = 'public'::regnamespace"
        )
        return {row[0] for row in rows} - CONTROL_TABLES - SHARD_TABLES


def is_sql(statement: str) -> bool:
    """Whether it is the shop's. `release $1` is how PostgreSQL notes a savepoint's end; what reads
    from ONLY is its own, when it looks after a foreign key."""
    is_some = re.match(r"\s*(?:\(|(?:select|insert|update|delete|with|copy)\b)", statement, re.I)
    return bool(is_some) and 'FROM ONLY "public"' not in statement


def test_no_statement_touches_a_tenants_table_without_its_tenant(
    sent: list[str], owned: set[str]
) -> None:
    checker = Checker(owned)
    faults = []
    for statement in sent:
        if not is_sql(statement):
            continue
        try:
            tables = checker.faults(statement)
        except ParseError as error:
            raise AssertionError(f"{error}: {statement}") from error
        faults += [(table, re.sub(r"\s+", " ", statement)[:300]) for table in tables]
    assert not faults, faults
    assert len(sent) > 100
    assert checker.touched == owned


@pytest.fixture(scope="module")
def parts(fleet: Fleet) -> dict[str, set[str]]:
    """The tables whose rows refer to those of each, also by way of others."""
    with psycopg.connect(fleet.databases[1]) as connection:
        pairs = connection.execute(
            "select confrelid::regclass::text, conrelid::regclass::text from pg_constraint"
            " where contype = 'f'"
        ).fetchall()
    found: dict[str, set[str]] = {}
    for whole, part in pairs:
        found.setdefault(whole, set()).add(part)
    return found


def test_no_statement_waits_for_a_row_and_reads_what_it_guards(
    sent: list[str], parts: dict[str, set[str]]
) -> None:
    locks = Locks(parts)
    faults = []
    for statement in filter(is_sql, sent):
        text = re.sub(r"\s+", " ", statement).strip()
        pairs = [pair for pair in locks.faults(statement) if pair not in HARMLESS]
        if pairs and not text.startswith(HELD_BEFORE):
            faults.append((pairs, text[:400]))
    assert not faults, "\n".join(map(str, faults))


def test_the_order_that_lacked_an_item_would_have_been_found(parts: dict[str, set[str]]) -> None:
    """The check above can fail."""
    locks = Locks(parts)
    assert locks.faults(
        "with held as (select c.* from cart c where c.id = $1 for update)"
        " select (select json_agg(i) from cart_item i where i.cart_id = held.id) from held"
    ) == [("cart", "cart_item")]
    assert locks.faults(
        "with opened as (update cart set updated_at = now() where id = $1 returning id)"
        " delete from cart_item i using opened where i.cart_id = opened.id"
    ) == [("cart", "cart_item")]
    assert locks.faults("select 1 from cart for update skip locked") == []


def test_every_statement_of_the_source_was_among_them(sent: list[str]) -> None:
    """Else the check above would have looked at less than there is."""
    seen = "\n".join(normalized(statement) for statement in sent)
    missed = [
        f"{file.relative_to(SOURCE)}: {function}: {piece[:120]}"
        for file in FILES
        for function, pieces in statements(file)
        for piece in pieces
        if piece not in seen
    ]
    assert not missed, "\n".join(missed)


def test_sql_stands_where_it_is_looked_for(owned: set[str]) -> None:
    """A tenants' table is named in SQL only in the files that are searched above."""
    word = re.compile(rf"\b(?:from|join|into|update|using)\s+({'|'.join(owned)})\b")
    elsewhere = {
        str(file.relative_to(SOURCE))
        for file in (*SOURCE.glob("commerce/**/*.py"), *SOURCE.glob("http/*.py"))
        if file not in FILES and word.search(file.read_text(encoding="utf-8"))
    }
    assert elsewhere == set()
