"""Varnish in front of the shop, as a CDN of one's own."""

from pathlib import Path

from rcommerce.database import binaries
from rcommerce.lab.process import Part, Process, installed
from rcommerce.ports import free_port


def program() -> Path:
    """The installed varnishd. Raises StartError."""
    return installed("varnishd", "Varnish", "varnish varnish-modules")


class Varnish(Part):
    """A cache. `vcl` is its configuration, whose backend is at port 8080: here it is `backend`'s
    port."""

    def __init__(self, folder: Path, vcl: str, backend: int) -> None:
        port = free_port()
        self.folder = folder
        self._vcl = vcl.replace('.port = "8080"', f'.port = "{backend}"')
        command = [
            str(program()), "-F", "-j", "none", "-n", str(folder / "work"),
            "-a", f"127.0.0.1:{port}", "-f", str(folder / "default.vcl"),
            "-s", "malloc,64m", "-T", "none",
        ]  # fmt: skip
        super().__init__(port, Process(f"Varnish on port {port}", command, folder / "varnish.log"))

    @property
    def url(self) -> str:
        """As in the settings."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        binaries.let_in(self.folder)
        binaries.give(self.folder)
        path = self.folder / "default.vcl"
        path.write_text(self._vcl)
        binaries.give(path)
        self.process.start()
        self.process.await_port(self.port)
