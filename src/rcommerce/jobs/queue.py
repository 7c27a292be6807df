"""Enqueues jobs as part of a transaction: a job exists if and only if it was committed.

The table is Procrastinate's. Its own `defer` sends a notification inside the transaction, which
would halve the rate of commits; workers poll every half second instead.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rcommerce import tracing
from rcommerce.database import Connection, Jsonb
from rcommerce.errors import RCommerceError

QUEUE = "default"
QUEUES = (QUEUE, "webhooks")  # each with workers of its own: slow receivers delay no image


class Postponed(RCommerceError):
    """A job cannot run now, through no fault of its own: not counted as an attempt."""

    def __init__(self, why: str, *, after_s: float) -> None:
        super().__init__(why)
        self.after_s = after_s


async def defer(
    tx: Connection,
    task: str,
    tenant: UUID,
    args: Mapping[str, Any],
    *,
    lock: str | None = None,
    once: str | None = None,
    after_s: float = 0,
) -> None:
    """Enqueues a job on the shard to which `tx` writes; it runs after the commit.

    Jobs with the same `lock` run one after another, in order. While a job with the same `once`
    waits, no second one is enqueued.
    """
    carried: dict[str, str] = {}
    tracing.inject(carried)  # the job's span is part of the trace that enqueued it
    await tx.execute(
        """
        insert into procrastinate_jobs
               (queue_name, task_name, lock, queueing_lock, args, scheduled_at)
        values (%(queue)s, %(task)s, %(lock)s, %(once)s, %(args)s,
                case when %(after_s)s > 0 then now() + make_interval(secs => %(after_s)s) end)
        on conflict (queueing_lock) where status = 'todo' do nothing
        """,
        {
            "queue": QUEUE,
            "task": task,
            "lock": lock,
            "once": once,
            "args": Jsonb({"tenant_id": str(tenant), **args, **carried}),
            "after_s": float(after_s),
        },
    )


async def listed(conn: Connection, most: int, *, only_failed: bool) -> list[dict[str, Any]]:
    """The jobs of a shard, oldest first."""
    return await conn.dicts(
        """
        select id, task_name as task, status::text as state, attempts, args,
               rfc3339(scheduled_at) as due
          from procrastinate_jobs
         where status = 'failed' or (not %(only_failed)s and status in ('todo', 'doing'))
         order by id limit %(most)s
        """,
        {"most": most, "only_failed": only_failed},
    )


async def depths(conn: Connection) -> list[tuple[str, str, int, float]]:
    """Numbers of jobs of a shard: (queue, state, number, seconds for which the oldest has been
    due)."""
    return await conn.all(
        """
        select queue_name, status::text, count(*), coalesce(max(
                   case when status = 'todo' and (scheduled_at is null or scheduled_at <= now())
                        then extract(epoch from now() - coalesce(scheduled_at, (
                                 select min(e.at) from procrastinate_events e where e.job_id = j.id
                             ))) end), 0)::float
          from procrastinate_jobs j
         where status in ('todo', 'doing', 'failed')
         group by queue_name, status
        """
    )


async def retry_failed(conn: Connection, job: int | None) -> int:
    """Enqueues a failed job again, or all; returns how many."""
    return await conn.execute(
        """
        update procrastinate_jobs
           set status = 'todo', attempts = 0, scheduled_at = null, worker_id = null
         where status = 'failed' and (%(job)s::bigint is null or id = %(job)s::bigint)
        """,
        {"job": job},
    )


async def discard_failed(conn: Connection, job: int | None) -> int:
    """Deletes a failed job, or all; returns how many."""
    return await conn.execute(
        """
        delete from procrastinate_jobs
         where status = 'failed' and (%(job)s::bigint is null or id = %(job)s::bigint)
        """,
        {"job": job},
    )
