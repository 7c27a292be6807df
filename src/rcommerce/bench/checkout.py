"""checkout: a guest's cart, an item, a paid order.

The ceiling is pgbench, with as many connections, sending the same statements as the server:
recorded from PostgreSQL's log at the beginning of the run, and prepared as the server prepares
them.
"""

import asyncio
import contextlib
import random
import re
import tempfile
import time
import uuid
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import msgspec

from rcommerce.bench import report, statements
from rcommerce.bench.load import Connection, Load, LoadError, post
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench, run_pinned
from rcommerce.bench.statements import Statement
from rcommerce.database import binaries
from rcommerce.errors import StartError
from rcommerce.lab.ledger import ADDRESS

BAR = 0.35
CONNECTIONS = 16
SECONDS = 6
ROUNDS = 5
PRODUCTS = 2_000
VARIANTS = 500  # units, enough for both sides
TRIES = 3  # of pgbench: on a disk that stands still for seconds it places no order
WARM_UP_S = 3  # seconds of each round of pgbench in which its connections prepare their statements
MARK = "bench-mark"
RECORDINGS = 40  # most recordings, until two are alike
_PROGRESS = re.compile(r"^progress: [\d.]+ s, ([\d.]+) tps", re.MULTILINE)


Step = Literal["coupon", "again"]
COUPON = "WELCOME10"  # of the demo data


class Shopper:
    """Buys one unit of a variant, over and over, with one more `step` if wanted."""

    def __init__(self, connection: Connection, step: Step | None = None) -> None:
        self._connection = connection
        self._step = step

    async def buy(self, product: str, variant: str) -> None:
        """Cart, item, the step, complete. Raises LoadError."""
        answer = await self._post("/carts/guest", {}, "")
        cart, token = answer["cart"]["id"], f"X-Cart-Token: {answer['cart']['session_token']}\r\n"
        line = {"product_id": product, "variant_id": variant, "quantity": 1}
        await self._post(f"/carts/{cart}/items", line, token)
        if self._step == "coupon":
            await self._post(f"/carts/{cart}/coupon", {"coupon_code": COUPON}, token)
        elif self._step == "again":
            await self._post(f"/carts/{cart}/items", line, token)
        order = {
            "cart_id": cart,
            "shipping_address": ADDRESS,
            "payment_method": {"type": "card", "gateway_id": "test", "token": "tok_approve"},
            "customer_email": f"{uuid.uuid4()}@example.com",
        }
        await self._post("/checkout/complete", order, f"{token}Idempotency-Key: {uuid.uuid4()}\r\n")

    async def _post(self, path: str, body: dict[str, Any], headers: str) -> dict[str, Any]:
        request = post(f"/api/v1{path}", msgspec.json.encode(body), headers)
        status, answer = await self._connection.ask(request)
        if status not in (200, 201):
            raise LoadError(f"{path}: status {status}: {answer[:300]!r}")
        decoded: dict[str, Any] = msgspec.json.decode(answer)
        return decoded


def run(bench: Bench) -> Result:
    """Both sides in turn."""
    goods = [
        (str(row[0]), str(row[1]))
        for row in bench.query(
            f"select product_id, id from variant order by id limit {VARIANTS}"  # noqa: S608
        )
    ]
    bench.query("update inventory_level set on_hand = 1000000")
    values, ceilings, latencies = [], [], []
    server = bench.server({"RCOMMERCE_CHECKOUT__SWEEP_INTERVAL_SECS": "3600"})
    with server, tempfile.TemporaryDirectory(prefix="rcommerce-pgbench-") as scripts:
        bench.tell("recording the statements")
        script = asyncio.run(_record(bench, server.port, goods))
        file = Path(scripts) / "checkout.sql"
        file.write_text(script)
        bench.tell("warming up")
        asyncio.run(buy(server.port, goods, WARM_UP_S))
        bench.query("vacuum analyze")  # what is planned for empty tables takes any index
        for number in range(1, ROUNDS + 1):
            bench.tell(f"round {number} of {ROUNDS}")
            load = asyncio.run(buy(server.port, goods, SECONDS))
            values.append(load.per_second)
            latencies.append(report.percentile(load.latencies_s, 0.99))
            ceilings.append(_ceiling(bench, file))
    return report.against(
        "checkout",
        "orders/s",
        BAR,
        values,
        ceilings,
        {
            "ceiling_is": "pgbench with the same statements",
            "connections": CONNECTIONS,
            "statements_an_order": statements.count(script),
            "messages_an_order": statements.messages(script),
            "p99_ms": sorted(latencies)[len(latencies) // 2],
        },
    )


async def buy(
    port: int, goods: list[tuple[str, str]], seconds: float, step: Step | None = None
) -> Load:
    """Buys for so many seconds; a latency is an order's. Raises LoadError."""
    load = Load()
    begun = time.perf_counter()

    async def client() -> None:
        connection = await Connection.open(port)
        shopper = Shopper(connection, step)
        try:
            while (start := time.perf_counter()) < begun + seconds:
                await shopper.buy(*random.choice(goods))
                load.latencies_s.append(time.perf_counter() - start)
        finally:
            connection.close()

    async with asyncio.TaskGroup() as clients:
        for _ in range(CONNECTIONS):
            clients.create_task(client())
    load.seconds = time.perf_counter() - begun
    return load


async def _record(bench: Bench, port: int, goods: list[tuple[str, str]]) -> str:
    """The statements of a checkout as a script, from two recordings that agree: statements outside
    of requests (heartbeats, the time) may appear in any of them."""
    shopper = Shopper(await Connection.open(port))
    log = bench.folder / "postgres" / "postgres.log"
    with statements.logging(bench):
        await asyncio.sleep(0.5)  # the server's connections have to notice
        await shopper.buy(*goods[0])  # whatever the process caches is cached now
        for number in range(1, RECORDINGS + 1):
            bench.query(f"select '{MARK}'")
            await shopper.buy(*goods[0])
            if number % 5 == 0:
                bench.query(f"select '{MARK}'")
                parts = statements.recorded(log, MARK)[:-1]
                recordings = [_without_publication(each) for each in parts if each]
                with contextlib.suppress(StartError):
                    first, second = statements.alike(recordings)
                    break
        else:
            first, second = statements.alike(recordings)
    product, variant = goods[0]
    choices = {product: [good[0] for good in goods], variant: [good[1] for good in goods]}
    return statements.script(bench.dsn, first, second, choices)


def _without_publication(recording: list[Statement]) -> list[Statement]:
    """Without the transactions that publish invalidations: they run beside the requests, at any
    time. The server pays for them, pgbench does not."""
    kept: list[Statement] = []
    transaction: list[Statement] = []
    for each in recording:
        transaction.append(each)
        if each.sql.startswith("begin"):
            kept += transaction[:-1]
            transaction = [each]
        elif each.sql == "commit":
            if not any("publish_invalidations" in its.sql for its in transaction):
                kept += transaction
            transaction = []
    return kept + transaction


def _ceiling(bench: Bench, file: Path) -> float:
    """Orders a second of pgbench, after its warm-up."""
    command = [
        str(binaries.folder() / "pgbench"), "--no-vacuum", "--protocol=prepared", "--progress=1",
        f"--client={CONNECTIONS}", "--jobs=1", f"--time={WARM_UP_S + SECONDS}", f"--file={file}",
        bench.dsn,
    ]  # fmt: skip
    output = ""
    for _ in range(TRIES):
        output = run_pinned(bench, command)
        each_second = [float(rate) for rate in _PROGRESS.findall(output)]
        if len(each_second) >= WARM_UP_S + SECONDS - 1 and any(each_second[WARM_UP_S:]):
            return fmean(each_second[WARM_UP_S:])
    raise StartError(f"pgbench has placed no order, or not told its rates:\n{output[-2000:]}")
