"""A sale that begins and ends at its time, on every page of every instance."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, NotHere, Outcome
from rcommerce.drills.replicas import LAGS
from rcommerce.drills.stage import Stage

PRODUCTS = 5
STARTS_IN_S = 1.0  # less than a replica lags: it does not know of the sale yet
KNOWN_S = 0.3  # before its start: pages are kept meanwhile that must not outlive it
LOOKS_EVERY_S = 0.02
LASTS_S = 2.5
WITHIN_S = 0.25  # that everybody sees it
PLAIN, REDUCED = "10.00", "5.00"


@dataclass(frozen=True, slots=True)
class Seen:
    """A price that somebody was shown, and when it was asked for and had."""

    page: str
    sent: float
    received: float
    price: str
    is_read: bool  # from a database, not from a cache


@dataclass(slots=True)
class _Watcher:
    """A client who looks at all pages, again and again."""

    url: str
    pages: list[str]
    seen: list[Seen] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def run(self, is_over: threading.Event) -> None:
        with httpx.Client(base_url=self.url, timeout=10) as client:
            while not is_over.is_set():
                for page in self.pages:
                    self._look(client, page)
                    time.sleep(LOOKS_EVERY_S)

    def _look(self, client: httpx.Client, page: str) -> None:
        sent = time.time()
        answer = client.get(page)
        if answer.status_code != 200:
            self.faults.append(f"{answer.status_code}: {answer.text[:200]}")
            return
        found = answer.json()
        product = found["product"] if "product" in found else found["products"][0]
        is_read = "fwd=miss" in answer.headers.get("cache-status", "")
        self.seen.append(Seen(page, sent, time.time(), product["price"], is_read))


def sale_starts(stage: Stage) -> Outcome:
    """A sale is set a second before it starts; both replicas replay late, one by more than that.
    It ends while everybody looks."""
    slug = f"drill-{time.time_ns()}"
    channel = _make(stage, "/channels", {"slug": slug, "name": "Drill"}, "channel")
    products = [stage.product(1) for _ in range(PRODUCTS)]
    sale = _sale(stage, channel, [each["variants"][0]["id"] for each in products])
    pages = [f"/api/v1/products/{each['id']}?channel={slug}" for each in products]
    pages += [f"/api/v1/products?channel={slug}&ids={products[0]['id']}&sort=price"]
    watchers = [_Watcher(url, pages) for url in (stage.fleet.url, *_urls(stage))]
    is_over = threading.Event()
    threads = [threading.Thread(target=each.run, args=(is_over,)) for each in watchers]
    starts = ends = 0.0

    def sell() -> None:
        nonlocal starts, ends
        for name, by in LAGS.items():
            stage.postgres(name).configure({"recovery_min_apply_delay": by})
        for each in threads:
            each.start()
        time.sleep(STARTS_IN_S)
        starts = time.time() + STARTS_IN_S
        ends = starts + LASTS_S
        its_time = {"is_active": True, "starts_at": _text(starts), "ends_at": _text(ends)}
        stage.staff.patch(f"/api/v1/price-lists/{sale}", json=its_time).raise_for_status()
        if time.time() > starts - KNOWN_S:
            raise NotHere("sale-starts needs a machine that saves a sale before it starts")
        time.sleep(ends + 2 * WITHIN_S + 0.5 - time.time())

    def end() -> None:
        is_over.set()
        for each in threads:
            each.join()
        for name in LAGS:
            stage.postgres(name).configure({"recovery_min_apply_delay": "0"})

    try:
        found = course(stage, sell, end)
    finally:
        is_over.set()
        for name in LAGS:
            stage.postgres(name).configure({"recovery_min_apply_delay": "0"})
        stage.staff.delete(f"/api/v1/price-lists/{sale}")
        stage.staff.delete(f"/api/v1/channels/{slug}")
    seen = [each for watcher in watchers for each in watcher.seen]
    faults = [fault for watcher in watchers for fault in watcher.faults]
    early = _wrong(seen, 0.0, starts, PLAIN)
    late = _wrong(seen, starts + WITHIN_S, ends, REDUCED)
    over = _wrong(seen, ends + WITHIN_S, float("inf"), PLAIN)
    reads = [
        sum(each.is_read and begin <= each.received < begin + 1 for each in seen)
        for begin in (starts, ends)
    ]
    most = len(pages) * len(watchers) // 2
    outcome = found.outcome(
        "sale-starts",
        "a sale starts and ends at its time, on every page of every instance",
        [
            found.no_read_failed(),
            Check("every page is answered", bool(seen) and not faults, "; ".join(faults[:2])),
            Check("nobody sees it before", not early, _said(early, starts)),
            Check(f"everybody does {WITHIN_S:g} s after its start", not late, _said(late, starts)),
            Check(f"nobody does {WITHIN_S:g} s after its end", not over, _said(over, ends)),
            Check(
                "not every instance reads every page anew",
                max(reads) <= most,
                f"{reads[0]} and {reads[1]} reads of {len(pages)} pages by {len(watchers)}",
            ),
        ],
    )
    outcome.details |= {"prices_seen": len(seen), "read_from_a_database": reads}
    return outcome


def _sale(stage: Stage, channel: str, variants: list[str]) -> str:
    """A price list that has no time yet."""
    made = _make(
        stage,
        "/price-lists",
        {"name": "Drill", "channel_ids": [channel], "is_active": False},
        "price_list",
    )
    prices = [{"variant_id": each, "amount": REDUCED} for each in variants]
    stage.staff.put(f"/api/v1/price-lists/{made}/prices", json=prices).raise_for_status()
    return made


def _wrong(seen: list[Seen], begin: float, end: float, right: str) -> list[Seen]:
    """The answers wholly within a time that have another price."""
    return [
        each for each in seen if each.sent >= begin and each.received <= end and each.price != right
    ]


def _said(wrong: list[Seen], moment: float) -> str:
    if not wrong:
        return ""
    worst = max(wrong, key=lambda each: abs(each.sent - moment))
    return f"{len(wrong)} did, up to {abs(worst.sent - moment):.3f} s from it: {worst.page}"


def _urls(stage: Stage) -> list[str]:
    return [each.url for each in stage.instances]


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _make(stage: Stage, path: str, body: Mapping[str, object], kind: str) -> str:
    answer = stage.staff.post(f"/api/v1{path}", json=body)
    answer.raise_for_status()
    return str(answer.json()[kind]["id"])
