"""HAProxy, as Debian has it, before several instances of the server."""

from collections.abc import Sequence
from pathlib import Path

from rcommerce.database import binaries
from rcommerce.lab.ports import free_port
from rcommerce.lab.process import Part, Process, installed
from rcommerce.lab.templates import rendered


def program() -> Path:
    """The installed haproxy. Raises StartError."""
    return installed("haproxy", "HAProxy", "haproxy")


class HAProxy(Part):
    """A balancer before servers on these ports of the loopback address."""

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
        servers = [f"server shop-{n} 127.0.0.1:{port}" for n, port in enumerate(self._ports, 1)]
        path = self.folder / "haproxy.cfg"
        path.write_text(rendered("haproxy.cfg", {"listen": self.address}, servers))
        binaries.let_in(self.folder)
        for each in (self.folder, path):
            binaries.give(each)
        self.process.start()
        self.process.await_port(self.port)
