"""A gateway that does not answer in time."""

import time

from rcommerce.drills.course import Course, course
from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.stage import Stage
from rcommerce.drills.waiting import until
from rcommerce.lab.ledger import checkout_by_card

HUNG_S, BETWEEN_S = 1.5, 0.5
SETTLED_S = 30.0
OPEN = """
select count(*) from payment
 where status in ('pending', 'requires_action')
   and order_id in (select order_id from order_item where variant_id = %s)
"""
# What the gateway has charged without a payment of the shop.
UNKNOWN = """
select count(*) from test_gateway_charge c
 where created_at >= %s and not exists (
       select from payment p where p.id::text = c.idempotency_key and p.amount = c.amount)
"""


def gateway_timeout(stage: Stage) -> Outcome:
    """Banks decide late; meanwhile responses of the gateway are lost, and an instance is killed
    during its checkouts."""
    primary = stage.postgres()
    [(begun,)] = primary.query("select now()")
    pooler = stage.pooler().process

    def lose_answers() -> None:
        # The gateway's records are behind the pooler: it charges, and its response is lost.
        for _ in range(3):
            pooler.freeze()
            time.sleep(HUNG_S)
            pooler.thaw()
            time.sleep(BETWEEN_S)
        stage.kill("shop-2")
        time.sleep(1.0)

    is_settled: list[bool] = []

    def settle(found: Course) -> None:
        is_settled.append(until(lambda: primary.query(OPEN, found.variant) == [(0,)], SETTLED_S))

    try:
        found = course(
            stage,
            lose_answers,
            lambda: stage.start("shop-2"),
            prepare=checkout_by_card("tok_delay"),
            ends=settle,
        )
    finally:
        pooler.thaw()
    [(unknown,)] = primary.query(UNKNOWN, begun)
    [(charged,)] = primary.query(
        "select count(*) from test_gateway_charge where created_at >= %s", begun
    )
    placed = len(found.ledger.acknowledged)
    return found.outcome(
        "gateway-timeout",
        "cards are charged once each, whatever becomes of the gateway's answers",
        [
            Check("each order is settled in the end", is_settled == [True]),
            Check("the gateway has charged for nothing else", unknown == 0, f"{unknown} charges"),
            Check("once for each order", charged == placed, f"{charged} for {placed}"),
        ],
    )
