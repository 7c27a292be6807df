"""Where exchange rates come from, beside the staff who set them: strategies, chosen by
`exchange_rates.source`."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation

from rcommerce import clock
from rcommerce.commerce.strategies import ExchangeRates, RatesUnavailable
from rcommerce.settings import ExchangeRates as Settings

# A currency that is no longer quoted keeps its last observation for ever; holidays last days.
OLDEST = timedelta(days=10)
DIGITS = 8  # significant ones of a rate that was calculated from two others


@dataclass(frozen=True, slots=True)
class Manual:
    """Staff set every rate."""

    name: str = "Manual"

    async def rates(self, base: str) -> Mapping[str, Decimal]:
        """None."""
        return {}


@dataclass(frozen=True, slots=True)
class EuropeanCentralBank:
    """The euro foreign exchange reference rates, published on working days at about 16:00 CET.

    Source: the ECB Data Portal's API (SDMX 2.1 REST, CSV), data flow EXR:
    https://data.ecb.europa.eu/help/api/data
    """

    url: str
    timeout_s: float
    name: str = "ECB"

    async def rates(self, base: str) -> Mapping[str, Decimal]:
        """What one unit of `base` is worth in other currencies; none if it is not quoted."""
        euros = await self._euro()
        if base not in euros:
            return {}
        return {
            currency: _calculated(rate, euros[base])
            for currency, rate in euros.items()
            if currency != base
        }

    async def _euro(self) -> dict[str, Decimal]:
        import httpx  # not for every command that has no use for it

        query = {"lastNObservations": "1", "format": "csvdata", "detail": "dataonly"}
        try:
            async with httpx.AsyncClient(timeout=self.timeout_s) as client:
                answer = await client.get(self.url, params=query, headers={"Accept": "text/csv"})
                answer.raise_for_status()
            return _read(answer.text)
        except httpx.HTTPError as error:
            raise RatesUnavailable(f"the European Central Bank does not answer: {error}") from error
        except (KeyError, ValueError, InvalidOperation) as error:
            raise RatesUnavailable(
                f"the European Central Bank's answer cannot be read: {error}"
            ) from error


def _read(text: str) -> dict[str, Decimal]:
    """What one euro is worth. Raises KeyError, ValueError, InvalidOperation."""
    since = clock.today().date() - OLDEST
    found = {"EUR": Decimal(1)}
    for row in csv.DictReader(io.StringIO(text)):
        if row["CURRENCY_DENOM"] == "EUR" and date.fromisoformat(row["TIME_PERIOD"]) >= since:
            rate = Decimal(row["OBS_VALUE"])
            if not rate.is_finite() or rate <= 0:
                raise ValueError(f"{row['CURRENCY']} at {rate}")
            found[row["CURRENCY"]] = rate
    if len(found) == 1:
        raise ValueError("it has no recent rates")
    return found


def _calculated(rate: Decimal, base: Decimal) -> Decimal:
    if base == 1:
        return rate
    cross = rate / base
    return round(cross, DIGITS - 1 - cross.adjusted())


def opened(settings: Settings) -> ExchangeRates:
    """The source of these settings."""
    if settings.source == "ECB":
        return EuropeanCentralBank(settings.url, settings.timeout_secs)
    return Manual()
