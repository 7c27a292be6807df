"""Puts a job into the queue, as part of a transaction: with it, it is there; without, it never was.

The table is Procrastinate's. Its own `defer` notifies inside the transaction, which would halve the
rate of commits; workers ask every half a second instead.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rcommerce.database import Connection, Jsonb

QUEUE = "default"


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
            "args": Jsonb({"tenant_id": str(tenant), **args}),
            "after_s": float(after_s),
        },
    )
