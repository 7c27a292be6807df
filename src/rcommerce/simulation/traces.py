"""Load traces: a day, a flash sale, Black Friday, bots, or a file."""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rcommerce.errors import SettingsError

HOUR_S = 3600.0
SALE_TIMES, SALE_RISE_S = 20.0, 30.0
BLACK_FRIDAY_EDGE = 284e6 / 60  # requests a second at the edge, at the most


@dataclass(frozen=True, slots=True)
class Trace:
    """`at` gives the requests a second that reach the instances, by the seconds since the
    beginning."""

    name: str
    about: str
    seconds: float
    at: Callable[[float], float]


def built_in(ordinary: float, edge_hits: float) -> dict[str, Trace]:
    """The built-in traces. `ordinary` requests a second reach the instances on an ordinary day; the
    CDN answers a share of `edge_hits` of those at the edge."""
    friday = BLACK_FRIDAY_EDGE * (1 - edge_hits)
    return {
        "diurnal": Trace(
            "diurnal",
            f"a day: {ordinary / 4:,.0f} requests/s at five in the morning,"
            f" {ordinary:,.0f} at five in the afternoon",
            24 * HOUR_S,
            lambda t: ordinary * (0.625 - 0.375 * math.cos((t / HOUR_S - 5) * math.pi / 12)),
        ),
        "flash-sale": Trace(
            "flash-sale",
            f"{ordinary:,.0f} requests/s, {SALE_TIMES:g} times as many within {SALE_RISE_S:g} s,"
            " for ten minutes, and back",
            HOUR_S,
            lambda t: ordinary * _sale(t),
        ),
        "black-friday": Trace(
            "black-friday",
            f"284 million requests a minute at the edge at the most, of which {edge_hits:.2%} end"
            f" at the CDN: {friday:,.0f} a second for the instances",
            8 * HOUR_S,
            lambda t: friday * _friday(t / HOUR_S),
        ),
        "bots": Trace(
            "bots",
            f"{ordinary:,.0f} requests/s, and for five minutes each quarter of an hour as many by"
            " bots again, and three times as many",
            HOUR_S,
            lambda t: ordinary * (1 + _bots(t)),
        ),
    }


def from_csv(path: Path) -> Trace:
    """A file with two columns: seconds since the beginning, requests a second, with linear
    interpolation. Raises SettingsError."""
    points: list[tuple[float, float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if not row or (number == 1 and not _is_number(row[0])):
                    continue  # its header
                if len(row) != 2 or not all(_is_number(each) for each in row):
                    raise SettingsError(f"{path}:{number}: must be “seconds,requests a second”")
                points.append((float(row[0]), float(row[1])))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    if len(points) < 2 or any(a[0] >= b[0] for a, b in pairwise(points)):
        raise SettingsError(f"{path}: needs two lines at the least, each later than the one before")
    if any(rate < 0 for _, rate in points):
        raise SettingsError(f"{path}: a rate must not be below 0")
    begun = points[0][0]
    return Trace(
        path.stem,
        f"{path}",
        points[-1][0] - begun,
        lambda t: _between(points, begun + t),
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _between(points: Sequence[tuple[float, float]], at: float) -> float:
    for (a, low), (b, high) in pairwise(points):
        if at <= b:
            return low + (high - low) * max(0.0, at - a) / (b - a)
    return points[-1][1]


def _sale(t: float) -> float:
    begins, lasts = 600.0, 600.0
    if t < begins:
        return 1.0
    if t < begins + SALE_RISE_S:
        return 1 + (SALE_TIMES - 1) * (t - begins) / SALE_RISE_S
    if t < begins + SALE_RISE_S + lasts:
        return SALE_TIMES
    return 1 + (SALE_TIMES - 1) * math.exp(-(t - begins - SALE_RISE_S - lasts) / 180)


def _friday(hour: float) -> float:
    """From the evening before, over midnight's rush, to the morning's peak."""
    rush = math.exp(-(((hour - 2.0) / 0.15) ** 2)) * 0.8
    morning = 1 / (1 + math.exp(-(hour - 5.0) * 3)) * (0.8 + 0.2 * math.exp(-((hour - 6.5) ** 2)))
    return max(0.15, rush, morning)


def _bots(t: float) -> float:
    quarter, within = divmod(t, 900.0)
    if not 300.0 <= within < 600.0:
        return 0.0
    return 1.0 if int(quarter) % 2 == 0 else 3.0
