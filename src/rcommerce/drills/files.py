"""The media store fails."""

import time

from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.pictures import small_picture
from rcommerce.drills.stage import Stage

AWAY_S = 6.0
AT_ONCE_S = 1.0


def s3_down(stage: Stage) -> Outcome:
    """kill -9 of the S3 server."""
    answers: list[tuple[int, float]] = []

    def upload() -> int:
        begun = time.monotonic()
        answer = stage.staff.post("/api/v1/media", content=small_picture(), timeout=60)
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
