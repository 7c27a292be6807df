"""Puts a job into the queue, as part of a transaction: with it, it is there; without, it never was.

The table is Procrastinate's. Its own `defer` notifies inside the transaction, which would halve the
rate of commits; workers ask every half a second instead.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rcommerce import tracing
from rcommerce.database import Connection, Jsonb
from rcommerce.errors import RCommerceError

QUEUE = "default"
QUEUES = (QUEUE, "webhooks")  # each with workers of its own: slow receivers keep no image waiting


class Postponed(RCommerceError):
    """A job cannot be done now, and that is no failure of its own: it is not counted."""

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
    """Puts one into the queue of the shard on which `tx` writes; it runs after the commit.

    Jobs with the same `lock` run one after the other, in their order. While a job with the same
    `once` waits, no second one is put beside it.
    """
    carried: dict[str, str] = {}
    tracing.inject(carried)  # the job's span is part of the trace that has left it behind
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
    """The jobs of a shard, the oldest first."""
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
    """How many jobs of a shard there are: (queue, state, how many, for how many seconds the oldest
    one has been due)."""
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
    """Puts a job that was given up into the queue again, or all; returns how many."""
    return await conn.execute(
        """
        update procrastinate_jobs
           set status = 'todo', attempts = 0, scheduled_at = null, worker_id = null
         where status = 'failed' and (%(job)s::bigint is null or id = %(job)s::bigint)
        """,
        {"job": job},
    )


async def discard_failed(conn: Connection, job: int | None) -> int:
    """Forgets a job that was given up, or all; returns how many."""
    return await conn.execute(
        """
        delete from procrastinate_jobs
         where status = 'failed' and (%(job)s::bigint is null or id = %(job)s::bigint)
        """,
        {"job": job},
    )
