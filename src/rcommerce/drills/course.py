"""The course of a drill: a load, a failure and a recovery, and a comparison of the records.

Reads are sent at a fixed rate: products, carts, and lists that are not cached. Buyers place one
order after another, and repeat each until it is answered. Both come through nginx.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rcommerce.bench import open_load
from rcommerce.bench.load import get
from rcommerce.bench.open_load import OpenLoad, Request, Sample
from rcommerce.drills.outcome import Check, Outcome, phase
from rcommerce.drills.stage import Stage
from rcommerce.lab.ledger import Buyers, Ledger, Prepare, order_at_once

READS, BUYERS, CARTS = 100, 3, 20  # reads a second; buyers, each one order after the other
STOCK = 1_000_000
BEFORE_S, AFTER_S = 4.0, 5.0
LONGEST_S = 300.0
LOAD = f"{READS} reads/s (half of them past the caches) and {BUYERS} buyers, through nginx"


@dataclass(slots=True)
class Course:
    """What happened, by the clients' records and by the database."""

    reads: list[Sample] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    variant: str = ""  # that was bought
    broke_at: float = 0.0
    healed_at: float = 0.0
    lost: int = 0  # acknowledged and missing
    duplicated: int = 0  # existing and never acknowledged
    oversold: int = 0
    charged_twice: int = 0

    def between(self, begin: float, end: float) -> list[Sample]:
        """The reads that were due then."""
        return [each for each in self.reads if begin <= each.due < end]

    @property
    def failed(self) -> list[Sample]:
        """The reads that were not answered."""
        return [each for each in self.reads if not each.is_accepted]

    @property
    def recovered_s(self) -> float:
        """From the failure to the last read or order that failed because of it; 0: none did."""
        ends = [each.due + each.took_s for each in self.failed if each.due >= self.broke_at]
        ends += [
            each.answered
            for each in self.ledger.attempts
            if each.status != 201 and each.answered >= self.broke_at
        ]
        return round(max(ends) - self.broke_at, 2) if ends else 0.0

    def no_read_failed(self, what: str = "no read fails") -> Check:
        """Checks that no read failed."""
        return Check(what, not self.failed, f"{len(self.failed)} failed")

    def none_slower(self, seconds: float) -> Check:
        """Checks that nobody waited for what is unavailable."""
        slow = [
            each.took_s
            for each in self.between(self.broke_at, self.healed_at)
            if each.took_s > seconds
        ]
        return Check(f"none takes more than {seconds:g} s", not slow, f"{len(slow)} did")

    def none_after(self, seconds: float) -> Check:
        """Checks that everything worked so soon after the recovery."""
        late = [each for each in self.failed if each.due > self.healed_at + seconds]
        return Check(
            f"{seconds:g} s after it is healed all is well", not late, f"{len(late)} failed"
        )

    def orders_between(self, begin: float, end: float) -> int:
        """How many were acknowledged then."""
        return sum(
            each.status == 201 and begin <= each.answered < end for each in self.ledger.attempts
        )

    def books(self) -> list[Check]:
        """The guarantees of every drill."""
        faults = self.ledger.faults
        return [
            Check("no acknowledged order is lost", self.lost == 0, f"{self.lost} lost"),
            Check("no order is made twice", self.duplicated == 0, f"{self.duplicated} more"),
            Check("nothing is sold that was not there", self.oversold == 0, f"{self.oversold}"),
            Check("nobody is charged twice", self.charged_twice == 0, f"{self.charged_twice}"),
            Check("every buyer is answered in the end", not faults, "; ".join(faults[:2])),
            Check("orders were placed", bool(self.ledger.acknowledged)),
        ]

    def outcome(self, name: str, promise: str, checks: Sequence[Check]) -> Outcome:
        """The outcome, with the drill's own checks."""
        every = [*checks, *self.books()]
        first = min((each.due for each in self.reads), default=0.0)
        last = max((each.due for each in self.reads), default=0.0) + 1
        statuses = Counter(f"{each.status} {each.code}".strip() for each in self.failed)
        return Outcome(
            name=name,
            promise=promise,
            load=LOAD,
            passed=all(each.held for each in every),
            checks=every,
            before=phase(self.between(first, self.broke_at)),
            during=phase(self.between(self.broke_at, self.healed_at)),
            after=phase(self.between(self.healed_at, last)),
            recovered_s=self.recovered_s,
            acknowledged=len(self.ledger.acknowledged),
            lost=self.lost,
            duplicated=self.duplicated,
            oversold=self.oversold,
            details={
                "reads_that_failed": dict(statuses),
                "orders_sent_again": sum(each.status != 201 for each in self.ledger.attempts),
                "writes_stood_still_s": round(self.ledger.longest_gap_s(), 2),
            },
        )


def course(
    stage: Stage,
    breaks: Callable[[], None],
    heals: Callable[[], None],
    *,
    prepare: Prepare = order_at_once,
    ends: Callable[[Course], None] = lambda _: None,
) -> Course:
    """Loads the stage, calls `breaks` and then `heals`, and compares the records. Their exceptions
    end the load. `prepare` is how the buyers buy; `ends` waits, after the load, for what comes
    later."""
    found = Course()
    product = stage.product(STOCK)
    carts = [stage.cart() for _ in range(CARTS)]
    ending = threading.Event()
    load: list[OpenLoad] = []

    def pick() -> Request:
        chance = random.random()  # noqa: S311 - a load
        if chance < 0.5:
            product = random.choice(stage.products)  # noqa: S311
            return Request("hit", get(f"/api/v1/products/{product}"))
        if chance < 0.8:
            cart, token = random.choice(carts)  # noqa: S311
            headers = f"X-Cart-Token: {token}\r\n"
            return Request("cart", get(f"/api/v1/carts/{cart}", headers))
        # A list that is not cached.
        return Request("miss", get(f"/api/v1/products?min_price={chance:.9f}&per_page=5"))

    def read() -> None:
        load.append(open_load.run(stage.port, READS, LONGEST_S, 0.0, pick, ending.is_set))

    reading = threading.Thread(target=read)
    buyers = Buyers(lambda: stage.fleet.url, product, count=BUYERS, prepare=prepare)
    with buyers:
        reading.start()
        try:
            time.sleep(BEFORE_S)
            found.broke_at = time.monotonic()
            breaks()
            heals()
            found.healed_at = time.monotonic()
            time.sleep(AFTER_S)
        finally:
            ending.set()
            reading.join()
    found.reads, found.ledger = load[0].samples, buyers.ledger
    found.variant = product["variants"][0]["id"]
    ends(found)
    _audit(stage, found.variant, found)
    return found


def _audit(stage: Stage, variant: str, found: Course) -> None:
    """Compares the records with the primary's."""
    primary = stage.postgres()
    rows = primary.query("select order_id from order_item where variant_id = %s", variant)
    there, reported = {str(row[0]) for row in rows}, set(found.ledger.acknowledged)
    found.lost = len(reported - there)
    found.duplicated = len(there - reported) + len(rows) - len(there)
    [(sold,)] = primary.query(
        "select coalesce(sum(quantity), 0) from order_item where variant_id = %s", variant
    )
    [(left,)] = primary.query(
        "select coalesce(sum(on_hand - reserved), 0) from inventory_level where variant_id = %s",
        variant,
    )
    found.oversold = abs(STOCK - int(sold) - int(left))
    # By the shop's records, and by the gateway's own.
    [(found.charged_twice,)] = primary.query(
        """
        select count(*) from (
            select p.order_id from payment p
              left join test_gateway_charge c on c.idempotency_key = p.id::text
             where p.order_id in (select order_id from order_item where variant_id = %s)
             group by p.order_id
            having count(*) filter (where p.status = 'succeeded') > 1 or count(c) > 1) twice
        """,
        variant,
    )
