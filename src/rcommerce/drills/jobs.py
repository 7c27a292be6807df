"""Background jobs, and the processes that run them."""

import random
import time
from collections import defaultdict
from collections.abc import Iterable

from rcommerce.drills.course import Course, course
from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.pictures import large_picture
from rcommerce.drills.stage import Stage
from rcommerce.drills.waiting import until
from rcommerce.lab.receiver import Received, Receiver

DONE_S = 60.0
REFUSED = 0.05  # of the messages
PICTURES, KILLS = 6, 3
# The events of a variant's orders, in order.
HAPPENED = """
select e.order_id::text, e.type from order_event e
 where e.order_id in (select order_id from order_item where variant_id = %s)
 order by e.order_id, e.id
"""


def webhook_crash(stage: Stage) -> Outcome:
    """The worker and an instance are killed again and again, while messages are sent."""
    failing = random.Random(7)  # noqa: S311 - now and then the receiver refuses everything

    def answer(_: Received) -> int:
        return 503 if failing.random() < REFUSED else 204

    def kill() -> None:
        for name in ("worker", "shop-2", "worker"):
            time.sleep(1.0)
            stage.kill(name)
            stage.start(name)

    undelivered: list[int] = []

    def wait(_: Course) -> None:
        until(lambda: _pending(stage) == 0, DONE_S)
        undelivered.append(_pending(stage))

    with Receiver(answer) as receiver:
        wanted = {"url": receiver.url, "events": ["order.*"]}
        made = stage.staff.post("/api/v1/webhooks/subscriptions", json=wanted)
        made.raise_for_status()
        found = course(stage, kill, lambda: None, ends=wait)
        at = f"/api/v1/webhooks/subscriptions/{made.json()['subscription']['id']}"
        stage.staff.delete(at).raise_for_status()
    happened = _in_order(stage.postgres().query(HAPPENED, found.variant))
    reported = _in_order(
        (each.json["data"]["id"], each.json["type"].removeprefix("order."))
        for each in receiver.received
        if each.json["data"]["id"] in happened
    )
    lost = sum(len(events) - len(reported[order]) for order, events in happened.items())
    is_ordered = all(reported[order] == events for order, events in happened.items())
    return found.outcome(
        "webhook-crash",
        "whoever is killed, no message is lost, and those of an order come in their order",
        [
            Check("all are delivered in the end", undelivered == [0], f"{undelivered} left"),
            Check("none is lost", lost == 0, f"{lost} of {sum(map(len, happened.values()))}"),
            Check("each order's in their order", is_ordered),
        ],
    )


def _pending(stage: Stage) -> int:
    [(count,)] = stage.postgres().query(
        "select count(*) from webhook_delivery where state <> 'delivered'"
    )
    return int(count)


def _in_order(events: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The events of each order. One may be repeated, and never comes early."""
    found: dict[str, list[str]] = defaultdict(list)
    for order, kind in events:
        if kind not in found[order]:
            found[order].append(kind)
    return found


def worker_kill(stage: Stage) -> Outcome:
    """kill -9 of the only worker in the middle of a job, again and again."""
    uploaded: list[str] = []
    killed_at_work: list[bool] = []

    def kill() -> None:
        for _ in range(PICTURES):
            answer = stage.staff.post("/api/v1/media", content=large_picture(), timeout=60)
            answer.raise_for_status()
            uploaded.append(answer.json()["media"]["id"])
        for _ in range(KILLS):
            killed_at_work.append(until(lambda: _doing(stage) > 0, DONE_S))
            stage.kill("worker")
            stage.start("worker")
            time.sleep(1.0)

    missing: list[int] = []

    def wait(_: Course) -> None:
        until(lambda: _unprocessed(stage, uploaded) == 0, DONE_S)
        missing.append(_unprocessed(stage, uploaded))

    found = course(stage, kill, lambda: None, ends=wait)
    return found.outcome(
        "worker-kill",
        "the jobs of a worker that dies are taken up by the next",
        [
            found.no_read_failed(),
            Check("it is killed at its work", all(killed_at_work)),
            Check(
                f"each of {PICTURES} pictures is processed in the end",
                missing == [0],
                f"{missing} are not",
            ),
        ],
    )


def _doing(stage: Stage) -> int:
    [(count,)] = stage.postgres().query(
        "select count(*) from procrastinate_jobs"
        " where status = 'doing' and task_name like 'media.%'"
    )
    return int(count)


def _unprocessed(stage: Stage, media: list[str]) -> int:
    [(count,)] = stage.postgres().query(
        "select count(*) from media where id = any(%s::uuid[]) and renditions is null", media
    )
    return int(count)
