"""Runs the jobs of one shard: Procrastinate's worker, on the shop's own connections.

A worker lives as long as a PostgreSQL session that holds a lock on its number. If it is killed, the
lock is released with its connection, and others take its jobs over at once; if it hangs, the lock
stays, and nobody runs its jobs concurrently. If it loses the session, it stops its jobs: others may
have taken them over.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
import structlog
from procrastinate import App, exceptions
from procrastinate.connector import BaseAsyncConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager
from procrastinate.retry import BaseRetryStrategy, RetryDecision
from procrastinate.worker import Worker
from psycopg.rows import dict_row

from rcommerce import tracing
from rcommerce.database import Jsonb
from rcommerce.database.shard import Shard
from rcommerce.errors import RCommerceError
from rcommerce.jobs.queue import QUEUES, Postponed

Task = Callable[..., Awaitable[None]]
TRACE_FIELDS = ("traceparent", "tracestate")  # W3C Trace Context
LOCK = 7262  # class of the advisory locks on workers' numbers
ATTEMPTS = 30  # attempts, over most of a day, before a job has failed
LONGEST_WAIT_S = 3600
RESTART_S = 2.0
WATCH_EVERY_S = 1.0
WATCH_TIMEOUT_S = 5.0
RECOVER_EVERY_S = 3.0
_NEVER_S = 10 * 365 * 86400.0  # heartbeats decide nothing here: the lock does
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker runs. `periodic` has the crontab entry of each periodic task: in UTC, once for
    all workers of a shard. `drain_s` is how long running jobs may go on at shutdown."""

    tasks: Mapping[str, Task]
    concurrency: int
    poll_s: float
    drain_s: float
    periodic: Mapping[str, str] = field(default_factory=dict)


class _Connector(BaseAsyncConnector):
    """Procrastinate's statements on a shard's connections. Each is one message that no cache needs
    to know of: an idle worker sends several a second."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        await self.execute_query_all_async(query, **arguments)

    async def execute_query_one_async(
        self, query: LiteralString, **arguments: Any
    ) -> dict[str, Any]:
        rows = await self.execute_query_all_async(query, **arguments)
        if not rows:
            raise exceptions.NoResult
        return rows[0]

    async def execute_query_all_async(
        self, query: LiteralString, **arguments: Any
    ) -> list[dict[str, Any]]:
        given = {
            name: Jsonb(value) if isinstance(value, dict) else value
            for name, value in arguments.items()
        }
        try:
            cursor, _ = await self._shard.once(None, query, given, dict_row)
            return await cursor.fetchall() if cursor.description else []
        except (RCommerceError, psycopg.Error) as error:
            raise exceptions.ConnectorException(str(error)) from error


class _Manager(JobManager):
    """Locks a worker's number as soon as there is one."""

    def __init__(self, shard: Shard, lock: Callable[[int], Awaitable[None]]) -> None:
        super().__init__(_Connector(shard))
        self._lock = lock

    async def register_worker(self) -> int:
        number = await super().register_worker()
        await self._lock(number)
        return number


class Retry(BaseRetryStrategy):
    """Retries after 1, 2, 4 … seconds, at most an hour, each varied by up to a half; at once if the
    worker was asked to stop."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, asyncio.CancelledError | exceptions.JobAborted):
            return RetryDecision(retry_in={"seconds": 0})
        stretch = random.uniform(0.5, 1.5)  # noqa: S311 - spreads the load
        if isinstance(exception, Postponed):
            return RetryDecision(retry_in={"seconds": int(exception.after_s * stretch) + 1})
        if job.attempts + 1 >= ATTEMPTS:
            return None
        wait_s = min(LONGEST_WAIT_S, 2**job.attempts) * stretch
        return RetryDecision(retry_in={"seconds": int(wait_s) + 1})


async def run(
    shard: Shard,
    dsn: str,
    work: Work,
    stopping: asyncio.Event,
) -> None:
    """Works until `stopping` is set, then lets running jobs finish for up to `drain_s`, and returns
    the others to the queue. `dsn` connects to the primary without a pooler."""
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)  # what matters is logged here
    while not stopping.is_set():
        try:
            async with _session(dsn) as session:
                await _work(shard, session, work, stopping)
        except (RCommerceError, psycopg.Error, exceptions.ProcrastinateException, OSError) as error:
            log.warning("jobs_interrupted", shard=shard.name, error=str(error).strip())
        except Exception:
            # A process boundary: a bug must not end a shard's jobs for good.
            log.exception("jobs_interrupted", shard=shard.name)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), RESTART_S)


@contextlib.asynccontextmanager
async def _session(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with asyncio.timeout(WATCH_TIMEOUT_S):
        session = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    try:
        yield session
    finally:
        await session.close()


async def _work(
    shard: Shard,
    session: psycopg.AsyncConnection[Any],
    work: Work,
    stopping: asyncio.Event,
) -> None:
    locking = asyncio.Lock()

    async def lock(number: int) -> None:
        async with locking:
            await session.execute("select pg_advisory_lock(%s, %s)", (LOCK, number))

    app = App(connector=_Connector(shard))
    app.job_manager = _Manager(shard, lock)
    for name, task in work.tasks.items():
        made = app.task(name=name, retry=Retry())(_logged(name, shard.name, task))
        if name in work.periodic:
            app.periodic(cron=work.periodic[name])(made)
    workers = [
        Worker(
            app,
            queues=[queue],
            concurrency=work.concurrency,
            fetch_job_polling_interval=work.poll_s,
            listen_notify=False,
            delete_jobs="successful",
            install_signal_handlers=False,
            shutdown_graceful_timeout=work.drain_s,
            stalled_worker_timeout=_NEVER_S,
        )
        for queue in QUEUES
    ]
    running = [asyncio.create_task(each.run()) for each in workers]  # type: ignore[no-untyped-call]
    watching = asyncio.create_task(_watch(session))
    recovering = asyncio.create_task(_recover(shard))
    stop = asyncio.create_task(stopping.wait())
    tasks_of_it: list[asyncio.Task[Any]] = [*running, watching, recovering, stop]
    try:
        await asyncio.wait(tasks_of_it, return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            if not stopping.is_set():
                worker.shutdown_graceful_timeout = 0
            worker.stop()  # type: ignore[no-untyped-call]
        await asyncio.gather(*running)
        for each in (watching, recovering):
            if each.done():
                each.result()
    finally:
        for each in tasks_of_it:
            each.cancel()
        await asyncio.gather(*tasks_of_it, return_exceptions=True)


async def _watch(session: psycopg.AsyncConnection[Any]) -> None:
    """Raises psycopg.Error, TimeoutError once the session is lost."""
    while True:
        await asyncio.sleep(WATCH_EVERY_S)
        async with asyncio.timeout(WATCH_TIMEOUT_S):
            await session.execute("select 1")


async def _recover(shard: Shard) -> None:
    """Returns the jobs of dead workers to the queue, every few seconds. Raises RCommerceError."""
    while True:
        # A worker that has just registered takes its lock in a moment.
        await shard.once(
            None,
            """
            delete from procrastinate_workers
             where last_heartbeat < now() - interval '3 seconds'
               and pg_try_advisory_xact_lock(%(lock)s, id::int)
            """,
            {"lock": LOCK},
        )
        found, _ = await shard.once(
            None,
            """
            update procrastinate_jobs
               set status = 'todo', attempts = attempts + 1, scheduled_at = null
             where status = 'doing' and worker_id is null
            returning id, task_name
            """,
            None,
        )
        async for number, name in found:
            log.warning("job_recovered", shard=shard.name, job=number, task=name)
        await asyncio.sleep(RECOVER_EVERY_S)


def _logged(name: str, shard: str, task: Task) -> Task:
    async def logged(**args: Any) -> None:
        carried = {each: args.pop(each) for each in TRACE_FIELDS if each in args}
        try:
            with tracing.root(f"job {name}", "CONSUMER", carried, {"rcommerce.shard": shard}):
                await task(**args)
        except asyncio.CancelledError:
            log.info("job_given_back", task=name, shard=shard, **args)
            raise
        except Postponed as error:
            log.info("job_postponed", task=name, shard=shard, why=str(error), **args)
            raise
        except RCommerceError as error:
            log.warning("job_failed", task=name, shard=shard, error=str(error), **args)
            raise
        except Exception:
            # A process boundary: whatever failed, the job is retried.
            log.exception("job_failed", task=name, shard=shard, **args)
            raise

    return logged
