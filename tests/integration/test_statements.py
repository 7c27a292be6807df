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
from tenancy import Checker, normalized, statements

SOURCE = Path(rcommerce.__file__).parent
# SQL of tenants' tables is written in these files alone; `test_sql_stands_where_it_is_looked_for`.
FILES = sorted(
    [
        *SOURCE.glob("commerce/*/queries.py"),
        *SOURCE.glob("commerce/*/writes.py"),
        *SOURCE.glob("commerce/catalog/*.py"),
        SOURCE / "commerce/payments/gateways.py",
        SOURCE / "http/idempotency.py",
    ]
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


def test_no_statement_touches_a_tenants_table_without_its_tenant(
    sent: list[str], owned: set[str]
) -> None:
    checker = Checker(owned)
    faults = []
    for statement in sent:
        # `release $1` is how PostgreSQL notes a savepoint's end: no SQL, and no matter here.
        if not re.match(r"\s*(?:\(|(?:select|insert|update|delete|with|copy)\b)", statement, re.I):
            continue
        if statement.startswith('SELECT fk."'):  # PostgreSQL's own, when it validates a foreign key
            continue
        try:
            tables = checker.faults(statement)
        except ParseError as error:
            raise AssertionError(f"{error}: {statement}") from error
        faults += [(table, re.sub(r"\s+", " ", statement)[:300]) for table in tables]
    assert not faults, faults
    assert len(sent) > 100
    assert checker.touched == owned


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
