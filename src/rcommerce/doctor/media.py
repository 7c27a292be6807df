"""The media store: can it be written, read, listed, uploaded to, and emptied?

Checked by doing so, with an object that is removed afterwards: no store can be asked for a role's
permissions.
"""

import time
from collections.abc import Awaitable, Callable

import httpx

from rcommerce import ids
from rcommerce.doctor.findings import ASKED, Finding, Sample, distance
from rcommerce.errors import RCommerceError, Unavailable
from rcommerce.settings import Settings
from rcommerce.storage.objects import Objects
from rcommerce.storage.opening import open_objects

FOLDER = "rcommerce-doctor/"
CONTENT = b"rcommerce doctor tries what it may do here, and takes this away again\n"
TIMEOUT_S = 5.0
SIGNED_S = 60
WHOLE_SECONDS = 0.5  # stores report an object's time without a fraction
AWAY = "the shop works without: uploads are refused, and images are not shown"


async def examine(settings: Settings, instances: int) -> list[Finding]:
    """Whether the store does what the shop needs, and is shared by all instances."""
    media, objects = settings.media, open_objects(settings.media)
    about, is_local = f"media {objects.name}", media.storage_type == "Local"
    trial = _Trial(objects, f"{FOLDER}{ids.new_id()}")
    steps: dict[str, Callable[[], Awaitable[None]]] = {
        "written": trial.write,
        "read": trial.read,
        "listed": trial.list,
    }
    if not is_local:
        steps["filled by browsers"] = trial.fill
    if media.public_url:
        steps[f"seen at {media.public_url}"] = lambda: trial.see(f"{media.base_url}/{trial.key}")
    steps["emptied"] = trial.empty
    failed = {}
    for what, step in steps.items():
        objects.breaker.succeeded()  # each step reports by itself
        try:
            await step()
        except (RCommerceError, httpx.HTTPError) as error:
            is_store = isinstance(error, Unavailable)
            failed[what] = objects.breaker.cause if is_store else str(error)
            if what == "written":
                break
    if failed:
        return [
            Finding("red", about, f"cannot be {what}: {why}", AWAY) for what, why in failed.items()
        ]
    if is_local and (instances > 1 or settings.database.db_type != "Embedded"):
        return [Finding("yellow", about, "is a folder of this machine: no other instance sees what"
                        " is uploaded here", 'set media.storage_type = "S3", and run: rcommerce'
                        " media sync --to s3")]  # fmt: skip
    can = f"can be {', '.join(list(steps)[:-1])} and emptied"
    if is_local:
        return [Finding("green", about, can)]
    return [Finding("green", about, can, **distance(trial.samples))]


class _Trial:
    """The life of an object. Each step raises RCommerceError or httpx.HTTPError."""

    def __init__(self, objects: Objects, key: str) -> None:
        self.key = key
        self.samples: list[Sample] = []
        self._objects = objects

    async def write(self) -> None:
        sent = time.time()
        await self._objects.put(self.key, CONTENT, "text/plain", len(CONTENT))
        came = time.time()
        said = (await self._objects.find(self.key)).modified_at.timestamp() + WHOLE_SECONDS
        self.samples.append(Sample(sent, said, came))

    async def read(self) -> None:
        for _ in ASKED:
            reading = await self._objects.read(self.key)
            found = b"".join([chunk async for chunk in reading.chunks])
            if found != CONTENT:
                raise RCommerceError(f"other bytes come back than went in: {found[:80]!r}")

    async def list(self) -> None:
        found = [each.key async for page in self._objects.list(FOLDER) for each in page]
        if self.key not in found:
            raise RCommerceError("what was written is not among what is there")

    async def fill(self) -> None:
        """Uploads like a browser: to a URL that the shop has signed."""
        url = await self._objects.sign_put(self.key, SIGNED_S)
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.put(url or "", content=CONTENT, headers=self._objects.put_headers)
        if answer.is_error:
            raise RCommerceError(f"{answer.status_code} {answer.text[:200]}")

    async def see(self, url: str) -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=True) as client:
            answer = await client.get(url)
        if answer.content != CONTENT:
            raise RCommerceError(f"GET {url} answers {answer.status_code}, and not what is there")

    async def empty(self) -> None:
        await self._objects.delete(self.key)
