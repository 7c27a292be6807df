"""A full disk."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from rcommerce.database import binaries
from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, NotHere, Outcome
from rcommerce.drills.stage import Stage
from rcommerce.lab.postgres import Postgres

ROOM_MB = 96  # beside what the primary has already
LEFT_BYTES = 256 * 1024
FULL_S = 5.0
SWITCH_EVERY_S = 0.4
WITHIN_S = 5.0


def disk_full(stage: Stage) -> Outcome:
    """The primary is on a small file system, which fills up: it can write neither tables nor log,
    and crashes."""
    primary = stage.postgres()
    with _small(stage, primary) as folder:
        ballast = folder / "ballast"

        def fill() -> None:
            free = shutil.disk_usage(folder).free
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(free - LEFT_BYTES, 1))
            deadline = time.monotonic() + FULL_S
            while time.monotonic() < deadline:
                time.sleep(SWITCH_EVERY_S)
                with contextlib.suppress(psycopg.Error):  # the log needs a file that it has no
                    primary.query("select pg_switch_wal()", user="postgres")  # room for

        def clear() -> None:
            ballast.unlink()
            if primary.pid is None or not _answers(primary):
                primary.kill()
                stage.start("primary")

        found = course(stage, fill, clear)
    full = [
        each
        for each in found.ledger.attempts
        if found.broke_at + 1 < each.answered < found.healed_at
    ]
    refused = [each for each in full if each.status != 201]
    catalogue = [each for each in found.failed if each.kind != "cart"]
    sold = found.orders_between(found.healed_at, float("inf"))
    return found.outcome(
        "disk-full",
        "while the primary's disk is full writes are refused, and nothing acknowledged is lost",
        [
            Check("no read of the catalogue fails", not catalogue, f"{len(catalogue)} failed"),
            Check("writes are refused", bool(refused), f"{len(refused)} of {len(full)}"),
            found.none_after(WITHIN_S),
            Check("orders are placed once there is room", sold > 0, f"{sold}"),
        ],
    )


def _answers(primary: Postgres) -> bool:
    try:
        primary.query("select 1")
    except psycopg.Error:
        return False
    return True


@contextlib.contextmanager
def _small(stage: Stage, primary: Postgres) -> Iterator[Path]:
    """A small file system with the primary's data. Raises NotHere."""
    folder = primary.folder / "small"
    folder.mkdir()
    used_mb = (
        sum(path.stat().st_blocks * 512 for path in primary.data.rglob("*") if path.is_file())
        // 2**20
    )
    _mount("mount", "-t", "tmpfs", "-o", f"size={used_mb + ROOM_MB}m", "tmpfs", str(folder))
    aside = primary.folder / "aside"
    try:
        binaries.give(folder)
        primary.stop()
        _run("cp", "-a", str(primary.data), str(folder / "data"))
        primary.data.rename(aside)
        primary.data.symlink_to(folder / "data")
        stage.start("primary")
        stage.heal()
        yield folder
    finally:
        primary.stop()
        if aside.exists():
            primary.data.unlink()
            shutil.rmtree(aside)
            _run("cp", "-a", str(folder / "data"), str(primary.data))
        _run("umount", str(folder))
        folder.rmdir()
        stage.start("primary")


def _mount(*command: str) -> None:
    try:
        _run(*command)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotHere("disk-full needs root, to mount a small file system") from error


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
