"""The store of files that dies."""

import time
import zlib

from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.stage import Stage

AWAY_S = 6.0
AT_ONCE_S = 1.0


def s3_down(stage: Stage) -> Outcome:
    """kill -9 of the S3 server."""
    answers: list[tuple[int, float]] = []

    def upload() -> int:
        begun = time.monotonic()
        answer = stage.staff.post("/api/v1/media", content=_picture(), timeout=60)
        answers.append((answer.status_code, time.monotonic() - begun))
        return answer.status_code

    before = upload()

    def kill() -> None:
        stage.kill("s3")
        deadline = time.monotonic() + AWAY_S
        while time.monotonic() < deadline:
            upload()
            time.sleep(0.2)

    found = course(stage, kill, lambda: stage.start("s3"))
    meanwhile = answers[1:]
    deadline = time.monotonic() + 10
    while (after := upload()) != 201 and time.monotonic() < deadline:
        time.sleep(0.5)
    last = meanwhile[-3:]
    slow = [took_s for _, took_s in last if took_s > AT_ONCE_S]
    return found.outcome(
        "s3-down",
        "without the store of files uploads are refused at once, and everything else goes on",
        [
            found.no_read_failed(),
            Check("uploads work before", before == 201, f"{before}"),
            Check(
                "they are told 503", {status for status, _ in meanwhile} == {503}, str(meanwhile)
            ),
            Check(f"soon within {AT_ONCE_S:g} s", not slow, f"{len(slow)} took longer"),
            Check("they work after", after == 201, f"{after}"),
        ],
    )


def _picture() -> bytes:
    """A new PNG of one grey pixel, as small as they come."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    text = b"drill\0" + str(time.time_ns()).encode()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", (1).to_bytes(4) + (1).to_bytes(4) + bytes([8, 0, 0, 0, 0]))
        + chunk(b"tEXt", text)
        + chunk(b"IDAT", zlib.compress(b"\0\x80"))
        + chunk(b"IEND", b"")
    )
