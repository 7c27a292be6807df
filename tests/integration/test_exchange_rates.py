"""Automatic exchange rates, against a server that answers as the European Central Bank's API does
(https://data.ecb.europa.eu/help/api/data)."""

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from conftest import SETTINGS, Running, eventually, running
from rcommerce.commerce.prices.exchange import EuropeanCentralBank
from rcommerce.commerce.strategies import RatesUnavailable
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.lab.server import Server

HEAD = "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE"


class Bank:
    """The bank: `rates` of a euro, and the days since each was quoted."""

    def __init__(self) -> None:
        self.rates: dict[str, tuple[str, int]] = {}
        self.status = 200
        self.text: str | None = None
        self.asked: list[str] = []
        bank = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                bank.asked.append(self.path)
                body = (bank.csv() if bank.text is None else bank.text).encode()
                self.send_response(bank.status)
                self.send_header("Content-Type", "text/csv")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/service/data/EXR/D..EUR.SP00.A"

    def csv(self) -> str:
        lines = [HEAD]
        for currency, (rate, days) in self.rates.items():
            day = (datetime.now(UTC) - timedelta(days=days)).date()
            lines.append(f"EXR.D.{currency}.EUR.SP00.A,D,{currency},EUR,SP00,A,{day},{rate}")
        return "\r\n".join(lines) + "\r\n"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def bank() -> Iterator[Bank]:
    made = Bank()
    made.rates = {"USD": ("1.1000", 1), "JPY": ("160.00", 1), "HRK": ("7.5365", 900)}
    yield made
    made.close()


def rates(bank: Bank, base: str) -> dict[str, Decimal]:
    source = EuropeanCentralBank(bank.url, 5.0)
    return dict(asyncio.run(source.rates(base)))


def test_rates_are_read_and_crossed(bank: Bank) -> None:
    assert rates(bank, "EUR") == {"USD": Decimal("1.1000"), "JPY": Decimal("160.00")}
    assert rates(bank, "USD") == {"EUR": Decimal("0.90909091"), "JPY": Decimal("145.45455")}
    assert rates(bank, "HRK") == {}  # it is quoted no more
    assert "lastNObservations=1" in bank.asked[0]


def test_what_cannot_be_read_is_an_error_that_says_so(bank: Bank) -> None:
    for text in ("", "<html>", HEAD, HEAD + "\r\nX,D,USD,EUR,SP00,A,2026-13-01,1.1\r\n"):
        bank.text = text
        with pytest.raises(RatesUnavailable, match="cannot be read"):
            rates(bank, "EUR")
    today = datetime.now(UTC).date()
    for wrong in ("0", "-1", "NaN", "much"):
        bank.text = f"{HEAD}\r\nX,D,USD,EUR,SP00,A,{today},{wrong}\r\n"
        with pytest.raises(RatesUnavailable, match="cannot be read"):
            rates(bank, "EUR")
    bank.status = 503
    with pytest.raises(RatesUnavailable, match="does not answer"):
        rates(bank, "EUR")


def own(bank: Bank) -> Iterator[Running]:
    path = Path(tempfile.mkdtemp(prefix="rcommerce-test-"))
    more = {"RCOMMERCE_EXCHANGE_RATES__SOURCE": "ECB", "RCOMMERCE_EXCHANGE_RATES__URL": bank.url}
    server = Server(path, settings={**SETTINGS, **more})
    try:
        with EmbeddedPostgres(path / "postgres"):
            server.start()
            yield running(server)
            server.kill()
    finally:
        server.kill()
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def shop(bank: Bank) -> Iterator[Running]:
    yield from own(bank)


def test_automatic_rates_follow_their_source(bank: Bank, shop: Running) -> None:
    product = shop.product(price="11.00")  # USD
    shop.staff.post("/channels", {"slug": "europe", "name": "Europe", "currency": "EUR"})
    euro = {"from": "USD", "to": "EUR", "rounding": "none", "is_automatic": True}
    yen = {"from": "USD", "to": "JPY", "rate": "100", "rounding": "whole", "is_automatic": False}

    def put(*wanted: dict[str, Any], expect: int = 200) -> Any:
        return shop.staff("PUT", "/exchange-rates", list(wanted), expect).json()

    def price() -> str:
        shown = shop.guest.get(f"/products/{product['id']}?channel=europe")["product"]
        return str(shown["price"])

    def update() -> Any:
        return shop.server.command("jobs", "run", "prices.exchange_rates")

    found = put(euro, yen)["exchange_rates"]
    assert found == [{**euro, "rate": "0.90909091"}, yen]
    assert price() == "10.00"

    bank.rates["USD"] = ("1.2500", 0)
    assert update().returncode == 0
    eventually(lambda: price() == "8.80")
    assert shop.staff.get("/exchange-rates")["exchange_rates"][1] == yen

    bank.status = 500  # rates stay as they are
    failed = update()
    assert failed.returncode != 0
    assert "does not answer" in failed.stderr
    assert price() == "8.80"
    assert put(euro, expect=503)["code"] == "rates_unavailable"
    kept = put({**euro, "rate": "0.5"})["exchange_rates"]
    assert kept == [{**euro, "rate": "0.5"}]
    assert price() == "5.50"

    bank.status = 200
    unknown = put({**euro, "to": "HRK"}, expect=400)
    assert unknown["errors"][0]["field"] == "[0].to"
    assert "ECB has no rate from USD to HRK" in unknown["errors"][0]["message"]
    assert update().returncode == 0
    eventually(lambda: price() == "8.80")
