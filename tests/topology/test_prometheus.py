"""A real Prometheus reads the figures of a server with two workers, and its alerts fire."""

import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from conftest import SETTINGS, Running, completion, eventually
from rcommerce.deploy.render import rendered
from rcommerce.errors import StartError
from rcommerce.lab import settings
from rcommerce.lab.balanced import balanced
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.prometheus import Prometheus, program
from rcommerce.lab.server import Server
from topology.conftest import FAST, shop_on

DOCS = Path(__file__).parents[2] / "docs"
# As they stand in the document that this project implements.
KEY_METRICS = {
    "request rate": "rate(http_requests_total[5m])",
    "response time": "histogram_quantile(0.99, rate(http_request_duration_seconds_bucket[5m]))",
    "error rate": 'rate(http_requests_total{status=~"5.."}[5m])',
    "active connections": "count(increase(http_requests_total[1m]) > 0)",
    "database connections": 'pg_stat_activity_count{state="active"}',
}


@pytest.fixture
def watched(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> Iterator[tuple[Running, Prometheus, Postgres]]:
    """A server with two workers, a Prometheus that knows the alerts, and the database."""
    try:
        program()
    except StartError as error:
        pytest.skip(str(error))
    primary = started(Postgres(own_folder / "primary", settings=FAST))
    server = Server(
        own_folder / "shop", workers=2, settings={**SETTINGS, **settings.database(primary)}
    )
    prometheus = Prometheus(own_folder / "prometheus", [server.port])
    with shop_on(server) as shop, prometheus:
        yield shop, prometheus, primary


def value(prometheus: Prometheus, expression: str) -> float:
    """The sum of what a query finds."""
    return sum(float(each["value"][1]) for each in prometheus.query(expression))


def test_every_query_of_the_key_metrics_has_an_answer(
    watched: tuple[Running, Prometheus, Postgres],
) -> None:
    shop, prometheus, primary = watched
    product = shop.product(stock=1000)
    url = f"{shop.guest.url}/api/v1/products/{product['id']}"

    sent = itertools.count()

    def read(_: int) -> int:
        next(sent)
        return httpx.get(url).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(200))) == {200}

    def shows(expression: str) -> bool:
        # A series that is there for the first time has no rate yet: more of the same.
        read(0)
        cart, shopper = shop.cart((product, 1))
        shopper("POST", "/checkout/complete", completion(cart, "tok_fail"), expect=503)
        return bool(prometheus.query(expression))

    for expression in KEY_METRICS.values():
        eventually(partial(shows, expression), timeout_s=30, every_s=1.0)
    of_product = 'http_requests_total{method="GET",route="/api/v1/products/{key}",status="200"}'
    # Of both workers together, hits among them: each request once.
    total = next(sent)
    assert total >= 200
    eventually(lambda: value(prometheus, of_product) == total)
    counted = 'http_request_duration_seconds_count{method="GET",route="/api/v1/products/{key}"}'
    assert value(prometheus, counted) == value(prometheus, of_product)
    assert value(prometheus, "http_connections") >= 1
    orders = 'rcommerce_orders_total{event="created"}'
    made = primary.query("select count(*) from sales_order")[0][0]
    assert made >= 1
    # Those alone that were committed: a gateway that rests has some undone.
    eventually(lambda: value(prometheus, orders) == made)
    cart, shopper = shop.cart((shop.product(stock=0), 1))
    shopper("POST", "/checkout/complete", completion(cart), expect=409)
    eventually(lambda: value(prometheus, "rcommerce_stock_outs_total") == 1)


def test_labels_are_bounded_whatever_clients_ask_for(
    watched: tuple[Running, Prometheus, Postgres],
) -> None:
    shop, _, _ = watched
    url = shop.guest.url
    for number in range(50):
        httpx.get(f"{url}/nowhere/{number}")
        httpx.get(f"{url}/api/v1/products/none-{number}?q={number}")
        httpx.request(f"METHOD{number}", f"{url}/api/v1/products")
        httpx.get(f"{url}/api/v1/carts/guest", headers={"X-Tenant-ID": f"{number}"})

    def lines() -> list[str]:
        text = httpx.get(f"{url}/metrics").text
        return [line for line in text.splitlines() if line.startswith("http_requests_total")]

    eventually(lambda: sum(float(line.split()[1]) for line in lines()) >= 200)
    assert 4 <= len(lines()) < 12, lines()


def test_the_alerts_are_rules_about_figures_that_there_are(
    watched: tuple[Running, Prometheus, Postgres],
) -> None:
    shop, prometheus, primary = watched
    alerts = prometheus.folder / "alerts.yml"
    checked = subprocess.run(
        [program("promtool"), "check", "rules", alerts], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    expressions = re.findall(r"expr: (.*)", alerts.read_text())
    named = {
        each for expr in expressions for each in re.findall(r"\b(?:http|rcommerce|pg)_\w+", expr)
    }
    httpx.get(f"{shop.guest.url}/api/v1/products")
    replicas_only = {"rcommerce_database_replica_lag_seconds"}

    def missing() -> set[str]:
        text = httpx.get(f"{shop.guest.url}/metrics").text
        return {each for each in named - replicas_only if f"\n{each}" not in text}

    eventually(lambda: not missing())
    assert set(prometheus.alerts().values()) == {"inactive"}
    runbook = (DOCS / "operations.md").read_text()
    assert [name for name in prometheus.alerts() if f"`{name}`" not in runbook] == []
    # The database hangs: whoever is on call hears of it, until it is back.
    primary.process.freeze()
    try:
        eventually(lambda: prometheus.alerts()["PrimaryDown"] == "firing", timeout_s=40)
        down = 'rcommerce_breaker_state{dependency="database",state="closed"}'
        assert value(prometheus, down) == 0
        ready = httpx.get(f"{shop.guest.url}/health/ready")
        reported = ready.json()["dependencies"]["database"]
        assert (ready.status_code, reported["state"]) == (503, "down")
        assert reported["breaker"] in ("open", "half_open")
        assert reported["cause"]
    finally:
        primary.process.thaw()
    eventually(lambda: prometheus.alerts()["PrimaryDown"] == "inactive", timeout_s=40)
    opened = 'rcommerce_breaker_transitions_total{dependency="database",state="open"}'
    assert value(prometheus, opened) >= 2  # each worker's own, at least once


OF_REPLICAS = {"max by (shard, server) (rcommerce_database_replica_lag_seconds)"}


def test_every_panel_of_the_dashboards_has_an_answer(
    watched: tuple[Running, Prometheus, Postgres],
) -> None:
    shop, prometheus, _ = watched
    product = shop.product(stock=1000)
    expressions = [
        target["expr"]
        for name, text in rendered(balanced([1]), "grafana")
        if name.endswith(".json")
        for panel in json.loads(text)["panels"]
        for target in panel["targets"]
    ]
    assert len(expressions) > 18

    def empty() -> set[str]:
        httpx.get(f"{shop.guest.url}/api/v1/products/{product['id']}")
        httpx.get(f"{shop.guest.url}/api/v1/carts/none")  # refused, which is counted
        cart, shopper = shop.cart((product, 1))
        shopper.post("/checkout/complete", completion(cart))
        cart, shopper = shop.cart((product, 1))
        shopper("POST", "/checkout/complete", completion(cart, "tok_fail"), expect=503)
        return {each for each in expressions if not prometheus.query(each)} - OF_REPLICAS

    eventually(lambda: not empty(), timeout_s=30)
