"""Other dependencies: mail server, CDN, trace collector, source of exchange rates."""

import asyncio
import time
from collections.abc import Awaitable

import httpx

from rcommerce.cdn.adapters import CdnError, adapter
from rcommerce.commerce.customers.mail import connected
from rcommerce.commerce.prices import exchange
from rcommerce.commerce.strategies import RatesUnavailable
from rcommerce.doctor.findings import Finding
from rcommerce.settings import Settings
from rcommerce.settings.schema import Cdn, Email, ExchangeRates, Telemetry

TIMEOUT_S = 5.0
NOBODYS_TAG = "rcommerce-doctor"  # a tag that no response has: purging it changes nothing


async def examine(settings: Settings) -> list[Finding]:
    """Those of them that the settings name."""
    looks: list[Awaitable[Finding]] = []
    if settings.notifications.email.smtp_host:
        looks.append(asyncio.to_thread(_mail, settings.notifications.email))
    if settings.cdn.provider != "None":
        looks.append(_cdn(settings.cdn))
    if settings.telemetry.otlp_endpoint:
        looks.append(_traces(settings.telemetry))
    if settings.exchange_rates.source != "Manual":
        looks.append(_rates(settings.exchange_rates))
    return list(await asyncio.gather(*looks))


def _mail(email: Email) -> Finding:
    """Logs in, and sends nothing."""
    about = f"mail {email.smtp_host}:{email.smtp_port}"
    try:
        with connected(email) as server:
            begun = time.perf_counter()
            server.noop()
            return Finding("green", about, "accepts mail", round_trip_ms=_since(begun))
    except OSError as error:
        return Finding("red", about, f"rejects mail: {error}",
                       "password resets are sent when it does")  # fmt: skip


async def _cdn(settings: Cdn) -> Finding:
    """Purges an unused tag."""
    about, cdn = f"CDN {settings.provider}", adapter(settings)
    assert cdn is not None  # noqa: S101 - there is a provider
    begun = time.perf_counter()
    try:
        await cdn.purge([NOBODYS_TAG])
    except CdnError as error:
        return Finding("red", about, str(error), "purges wait until it takes them, and are told"
                       " again; until then it may answer what is out of date")  # fmt: skip
    return Finding("green", about, "accepts purges", round_trip_ms=_since(begun))


async def _traces(settings: Telemetry) -> Finding:
    """Sends an empty list of spans (OTLP over HTTP: an empty message is a valid one)."""
    url = f"{(settings.otlp_endpoint or '').rstrip('/')}/v1/traces"
    about, begun = f"traces {url}", time.perf_counter()
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            headers = {"Content-Type": "application/x-protobuf"}
            answer = await client.post(url, content=b"", headers=headers)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        return Finding("yellow", about, f"are not taken: {error}", "the shop works without")
    return Finding("green", about, "are taken", round_trip_ms=_since(begun))


async def _rates(settings: ExchangeRates) -> Finding:
    """Asks for the rates of the euro."""
    source, begun = exchange.opened(settings), time.perf_counter()
    about = f"exchange rates {source.name}"
    try:
        known = await source.rates("EUR")
    except RatesUnavailable as error:
        return Finding("yellow", about, str(error), "rates stay as they are")
    return Finding("green", about, f"{len(known)} currencies", round_trip_ms=_since(begun))


def _since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 3)
