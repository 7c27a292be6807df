"""No event is lost, whichever process is killed when; a receiver that counts is the judge."""

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Running, eventually
from rcommerce.lab import settings
from rcommerce.lab.ledger import Buyers
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.receiver import Received, Receiver
from rcommerce.lab.worker import Worker
from topology.conftest import FAST, server_for, shop_on

KILLS = 8


@pytest.fixture
def shop(own_folder: Path) -> Iterator[Running]:
    with Postgres(own_folder / "primary", settings=FAST) as primary:
        server = server_for(
            own_folder / "shop",
            settings.database(primary),
            RCOMMERCE_WEBHOOKS__ALLOW_HTTP="true",
            RCOMMERCE_WEBHOOKS__ALLOWED_NETWORKS="127.0.0.1/32",
        )
        with shop_on(server) as running:
            running.dsn = primary.conninfo("postgres")
            yield running


def test_no_event_is_lost_whoever_is_killed(shop: Running) -> None:
    failing = random.Random(7)  # now and then it takes nothing

    def answer(_: Received) -> int:
        return 503 if failing.random() < 0.05 else 204

    product = shop.product(stock=1_000_000)
    workers = [Worker(shop.server, f"worker-{number}") for number in range(2)]
    with Receiver(answer) as receiver:
        wanted = {"url": receiver.url, "events": ["order.*"]}
        shop.staff.post("/webhooks/subscriptions", wanted)
        try:
            for each in workers:
                each.start()
            with Buyers(lambda: shop.server.url, product, count=3) as buyers:
                buyers.await_orders(5)
                for number in range(KILLS):
                    time.sleep(random.uniform(0.3, 1.2))
                    if number % 4 == 3:
                        shop.server.kill()
                        shop.server.start()
                    else:
                        workers[number % 2].kill()
                        workers[number % 2].start()
                buyers.await_orders(5)
            assert buyers.ledger.faults == []
            eventually(lambda: pending(shop) == 0, timeout_s=120, every_s=0.5)
        finally:
            for each in workers:
                each.kill()
    happened: dict[str, list[str]] = defaultdict(list)
    for order, kind in shop.query(
        "select order_id::text, type from order_event order by order_id, id"
    ):
        happened[order].append(f"order.{kind}")
    reported: dict[str, list[str]] = defaultdict(list)
    for message in receiver.received:
        kind, order = message.json["type"], message.json["data"]["id"]
        if kind not in reported[order]:  # one may come again, and never before its time
            reported[order].append(kind)
    assert set(buyers.ledger.acknowledged) <= set(reported)
    assert reported == happened
    assert len(receiver.received) >= sum(map(len, happened.values()))


def pending(shop: Running) -> int:
    [(count,)] = shop.query("select count(*) from webhook_delivery where state <> 'delivered'")
    return int(count)
