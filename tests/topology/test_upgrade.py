"""An upgrade under load: the release before and the next one serve side by side."""

import itertools
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

import rcommerce
from rcommerce.database import migrations
from rcommerce.lab import settings
from rcommerce.lab.ledger import Buyers
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from topology.conftest import FAST, QUICK, server_for, shop_on

ROOT = Path(__file__).parents[2]
# What a release typically brings: a column, a constraint that is checked afterwards, an index.
STEPS = {
    "9001_next.sql": """
        set local lock_timeout = '5s';
        set local statement_timeout = '1min';
        alter table product add column loyalty_points bigint not null default 0;
        alter table product add constraint loyalty_points_known check (loyalty_points >= 0)
            not valid;
        """,
    "9002_next_valid.sql": """
        set local lock_timeout = '5s';
        set local statement_timeout = '5min';
        alter table product validate constraint loyalty_points_known;
        """,
    "9003_next_index.concurrently.sql": """
        create index concurrently if not exists product_by_points
            on product (tenant_id, loyalty_points, id);
        """,
}
STEP = '''"""A step."""
from rcommerce.database.migrations import run_sql

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    """Runs it."""
    run_sql("{file}")
'''


def next_release(folder: Path) -> Path:
    """This release's source with three more steps, as the next one would have."""
    shutil.copytree(
        Path(rcommerce.__file__).parent,
        folder / "rcommerce",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    steps = folder / "rcommerce" / "database" / "migrations"
    before = migrations.head()
    for file, sql in STEPS.items():
        revision = file.partition(".")[0]
        (steps / "sql" / file).write_text(sql)
        text = STEP.format(revision=revision, before=before, file=file)
        (steps / "versions" / f"{revision}.py").write_text(text)
        before = revision
    return folder


def test_two_releases_serve_side_by_side_and_no_request_fails(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    server = started(Postgres(own_folder / "server", settings=FAST))
    database = settings.database(server)
    with ExitStack() as stack:
        shop = stack.enter_context(shop_on(server_for(own_folder / "shop", database)))
        product = shop.product(stock=100_000)
        following = Server(
            own_folder / "next",
            settings={**QUICK, **database},
            source=next_release(own_folder / "source"),
        )
        urls = [shop.server.url]
        turn = itertools.count()

        def url() -> str:
            return urls[next(turn) % len(urls)]

        reads: list[int] = []
        ending = threading.Event()

        def read() -> None:
            with httpx.Client(timeout=30) as client:
                while not ending.is_set():
                    answer = client.get(f"{url()}/api/v1/products/{product['id']}")
                    reads.append(answer.status_code)

        readers = [threading.Thread(target=read) for _ in range(2)]
        with Buyers(url, product, count=3) as buyers:
            for reader in readers:
                reader.start()
            buyers.await_orders(30)
            upgraded = following.command("db", "upgrade")
            assert upgraded.returncode == 0, upgraded.stderr
            assert "9003_next_index" in upgraded.stdout
            buyers.await_orders(30)
            stack.enter_context(following)
            urls.append(following.url)  # side by side
            buyers.await_orders(60)
            # An instance of the old release can still be started on the newer database.
            again = Server(own_folder / "again", settings={**QUICK, **database})
            stack.enter_context(again)
            urls.append(again.url)
            buyers.await_orders(30)
            urls[:] = [following.url]  # and the old one goes
            buyers.await_orders(30)
        ending.set()
        for reader in readers:
            reader.join()
        assert buyers.ledger.faults == []
        assert {each.status for each in buyers.ledger.attempts} == {201}
        assert set(reads) == {200}
        valid = server.query(
            "select indisvalid from pg_index where indexrelid = 'product_by_points'::regclass"
        )
        assert valid == [(True,)]


def test_an_index_whose_making_was_cut_off_is_made_anew(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    server = started(Postgres(own_folder / "server", settings=FAST))
    database = settings.database(server)
    with shop_on(server_for(own_folder / "shop", database)) as shop:
        shop.product()
    following = Server(
        own_folder / "next",
        settings={**QUICK, **database},
        source=next_release(own_folder / "source"),
    )
    # As a crash leaves it: there, and of no use.
    server.query("create index product_by_points on product (tenant_id, id)")
    server.query(
        "update pg_index set indisvalid = false where indexrelid = 'product_by_points'::regclass",
        user="postgres",
    )
    upgraded = following.command("db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    rows = server.query("select indexdef from pg_indexes where indexname = 'product_by_points'")
    assert "loyalty_points" in rows[0][0]


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("create index a on product (tenant_id, title);", "require-concurrent-index-creation"),
        ("alter table product add column x bigint not null;", "adding-required-field"),
        ("alter table product alter column seo_title set not null;", "adding-not-nullable-field"),
        ("alter table product rename column title to name;", "renaming-column"),
        ("alter table product rename to goods;", "renaming-table"),
        ("alter table product alter column title type varchar(9);", "changing-column-type"),
        ("alter table product drop column weight;", "ban-drop-column"),
        ("drop table cart;", "ban-drop-table"),
        ("alter table product add constraint c check (price > 0);", "constraint-missing-not-valid"),
        ("alter table product add column x bigint;", "require-lock-timeout"),
    ],
)
def test_a_step_that_would_hurt_the_release_before_is_refused(
    tmp_path: Path, sql: str, rule: str
) -> None:
    timeouts = "set local lock_timeout = '5s';\nset local statement_timeout = '5s';\n"
    file = tmp_path / "0009_bad.sql"
    file.write_text(sql if rule == "require-lock-timeout" else timeouts + sql)
    done = subprocess.run(
        [Path(sys.executable).parent / "squawk", "--assume-in-transaction", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert rule in done.stdout + done.stderr


def test_the_steps_of_a_release_pass_the_check(tmp_path: Path) -> None:
    squawk = Path(sys.executable).parent / "squawk"
    for name, sql in STEPS.items():
        file = tmp_path / name
        file.write_text(sql)
        alone = "--exclude=require-lock-timeout,require-statement-timeout"  # as in the Makefile
        flag = [alone if ".concurrently." in name else "--assume-in-transaction"]
        done = subprocess.run([squawk, *flag, str(file)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
