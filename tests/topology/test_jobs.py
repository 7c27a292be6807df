"""Jobs: none is lost and none is run by two at once, whatever becomes of their workers."""

import functools
import io
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from conftest import Running, eventually, picture
from rcommerce.lab import settings
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.worker import Worker
from topology.conftest import FAST, server_for, shop_on


@pytest.fixture(scope="module")
def shop(folder: Path) -> Iterator[Running]:
    """A server whose jobs others run, on a database of its own."""
    with Postgres(folder / "jobs" / "primary", settings=FAST) as primary:
        server = server_for(
            folder / "jobs" / "shop",
            settings.database(primary),
            RCOMMERCE_JOBS__CONCURRENCY="1",
            RCOMMERCE_SERVER__GRACEFUL_SHUTDOWN_TIMEOUT_SECS="2",
        )
        with shop_on(server) as running:
            running.dsn = primary.conninfo("postgres")
            yield running


@pytest.fixture
def workers(shop: Running) -> Iterator[list[Worker]]:
    """Workers that are not started yet; nothing waits for them."""
    shop.query("delete from procrastinate_jobs")
    made = [Worker(shop.server, f"worker-{number}") for number in range(2)]
    yield made
    for each in made:
        each.kill()
        each.log.unlink(missing_ok=True)


def upload(shop: Running, content: bytes | None = None) -> str:
    answer = httpx.post(
        f"{shop.server.url}/api/v1/media",
        content=content or picture(),
        headers=shop.staff.headers,
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["media"]["id"])


@functools.cache
def _large() -> bytes:
    file = io.BytesIO()
    noise = Image.effect_noise((1000, 1000), 90).resize((7000, 7000)).convert("RGB")
    noise.save(file, "WEBP", quality=10, method=0)  # which cannot be decoded in part, as a JPEG can
    return file.getvalue()


def much_work() -> bytes:
    """An image that keeps a worker busy for seconds."""
    return _large() + uuid4().bytes


def is_processed(shop: Running, media: str) -> bool:
    return bool(shop.staff.get(f"/media/{media}")["media"]["is_processed"])


def doing(shop: Running) -> int:
    [(count,)] = shop.query("select count(*) from procrastinate_jobs where status = 'doing'")
    return int(count)


def waiting(shop: Running) -> int:
    [(count,)] = shop.query("select count(*) from procrastinate_jobs")
    return int(count)


def test_what_is_undone_has_no_job(shop: Running) -> None:
    """An upload that fails after its job was put into the queue, in the same transaction."""
    shop.query("alter table media add constraint never check (size_bytes < 0) not valid")
    answer = httpx.post(
        f"{shop.server.url}/api/v1/media", content=picture(), headers=shop.staff.headers
    )
    assert answer.status_code == 500
    assert waiting(shop) == 0
    shop.query("alter table media drop constraint never")
    upload(shop)
    assert waiting(shop) == 1


def test_the_jobs_of_a_worker_that_is_killed_are_taken_up(
    shop: Running, workers: list[Worker]
) -> None:
    first, second = workers
    first.start()
    media = upload(shop, much_work())
    eventually(lambda: doing(shop) == 1)
    first.kill()
    second.start()
    eventually(lambda: is_processed(shop, media), timeout_s=60)
    assert "job_recovered" in second.log.read_text()
    eventually(lambda: waiting(shop) == 0)


def test_nobody_runs_the_job_of_a_worker_that_hangs(shop: Running, workers: list[Worker]) -> None:
    first, second = workers
    first.start()
    media = upload(shop, much_work())
    eventually(lambda: doing(shop) == 1)
    first.send(signal.SIGSTOP)
    second.start()
    other = upload(shop)
    eventually(lambda: is_processed(shop, other), timeout_s=60)
    time.sleep(6)  # two rounds of looking for the dead
    assert not is_processed(shop, media)
    assert doing(shop) == 1
    first.send(signal.SIGCONT)
    eventually(lambda: is_processed(shop, media), timeout_s=60)
    assert "job_recovered" not in second.log.read_text()


def test_a_worker_that_is_asked_to_stop_gives_its_job_back(
    shop: Running, workers: list[Worker]
) -> None:
    first, second = workers
    first.start()
    media = upload(shop, much_work())
    eventually(lambda: doing(shop) == 1)
    assert first.stop() == 0
    if not is_processed(shop, media):
        assert (doing(shop), waiting(shop)) == (0, 1)
        assert "job_given_back" in first.log.read_text()
    second.start()
    eventually(lambda: is_processed(shop, media), timeout_s=60)


def test_the_jobs_of_a_suspended_shop_wait(shop: Running, workers: list[Worker]) -> None:
    media = upload(shop, picture() + uuid4().bytes)
    shop.server.command("tenant", "suspend", "default")
    workers[0].start()
    eventually(lambda: "job_postponed" in workers[0].log.read_text(), timeout_s=30)
    shop.server.command("tenant", "resume", "default")
    assert waiting(shop) == 1

    def is_done() -> bool:
        shop.query("update procrastinate_jobs set scheduled_at = now() where status = 'todo'")
        return is_processed(shop, media)

    eventually(is_done, timeout_s=30, every_s=1)  # the worker knows within seconds


def test_a_job_that_was_given_up_is_tried_again_or_forgotten(
    shop: Running, workers: list[Worker]
) -> None:
    first, second = (upload(shop, picture() + uuid4().bytes) for _ in range(2))
    shop.query("update procrastinate_jobs set status = 'failed', attempts = 30")
    [(one,), (other,)] = shop.query("select id from procrastinate_jobs order by id")
    command = shop.server.command
    listed = json.loads(command("jobs", "list", "--failed", "--json").stdout)["jobs"]
    assert [each["id"] for each in listed] == [one, other]
    assert command("jobs", "discard").returncode == 2
    assert command("jobs", "discard", str(other + 1)).returncode == 1
    assert json.loads(command("jobs", "discard", str(one), "--json").stdout) == {"discarded": 1}
    assert json.loads(command("jobs", "retry", "--json").stdout) == {"retried": 1}
    workers[0].start()
    eventually(lambda: is_processed(shop, second), timeout_s=60)
    assert not is_processed(shop, first)
    assert json.loads(command("jobs", "discard", "--all", "--json").stdout) == {"discarded": 0}


def test_a_worker_survives_its_database(shop: Running, workers: list[Worker]) -> None:
    worker = workers[0]
    worker.start()
    first = upload(shop)
    eventually(lambda: is_processed(shop, first), timeout_s=60)
    shop.query(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where usename = 'rcommerce' and pid <> pg_backend_pid()"
    )
    eventually(lambda: "jobs_interrupted" in worker.log.read_text())
    media = upload(shop)
    eventually(lambda: is_processed(shop, media), timeout_s=60)
    assert worker.exit_code is None


def test_a_second_signal_is_impatient(shop: Running, workers: list[Worker]) -> None:
    worker = workers[0]
    worker.start()
    upload(shop, much_work())
    eventually(lambda: doing(shop) == 1)
    worker.send(signal.SIGTERM)
    worker.send(signal.SIGTERM)
    eventually(lambda: worker.exit_code is not None, timeout_s=10)
