"""Debian's HAProxy in front of several instances."""

from collections.abc import Sequence
from pathlib import Path

from rcommerce.database import binaries
from rcommerce.deploy import fleet
from rcommerce.deploy.render import rendered
from rcommerce.lab.balanced import balanced
from rcommerce.lab.process import Part, Process, installed
from rcommerce.ports import free_port


def program() -> Path:
    """The installed haproxy. Raises StartError."""
    return installed("haproxy", "HAProxy", "haproxy")


class HAProxy(Part):
    """A load balancer for servers on these ports of the loopback address."""

    def __init__(self, folder: Path, ports: Sequence[int], *, port: int | None = None) -> None:
        self.folder = folder
        self._ports = list(ports)
        port = port or free_port()
        command = [str(program()), "-db", "-f", str(folder / "haproxy.cfg")]
        super().__init__(port, Process(f"HAProxy on port {port}", command, folder / "haproxy.log"))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        section = fleet.HAProxy(listen=self.address, slow_start_s=0, max_connections=8000)
        path = self.folder / "haproxy.cfg"
        for _, text in rendered(balanced(self._ports, haproxy=section), "haproxy"):
            path.write_text(text)
        binaries.let_in(self.folder)
        for each in (self.folder, path):
            binaries.give(each)
        self.process.start()
        self.process.await_port(self.port)
