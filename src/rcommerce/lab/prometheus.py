"""Prometheus, scraping instances of the server."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from rcommerce.database import binaries
from rcommerce.deploy.render import rendered
from rcommerce.lab.balanced import balanced
from rcommerce.lab.process import Part, Process, installed
from rcommerce.ports import free_port

CONFIGURATION = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: [recording.yml, alerts.yml]
scrape_configs:
  - job_name: rcommerce
    static_configs:
      - targets: [{targets}]
"""


def program(name: str = "prometheus") -> Path:
    """Debian's prometheus, or its promtool. Raises StartError."""
    return installed(name, "Prometheus", "prometheus")


class Prometheus(Part):
    """A server that scrapes these ports each second, with the alerts of any fleet."""

    def __init__(
        self,
        folder: Path,
        ports: Sequence[int],
        *,
        port: int | None = None,
    ) -> None:
        port = port or free_port()
        self.folder = folder
        self._ports = list(ports)
        command = [
            str(program()),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        super().__init__(port, Process(f"Prometheus on {port}", command, folder / "prometheus.log"))

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        binaries.let_in(self.folder)
        binaries.give(self.folder)
        targets = ", ".join(f'"127.0.0.1:{each}"' for each in self._ports)
        fleet = balanced(self._ports)
        written = {Path(name).name: text for name, text in rendered(fleet, "prometheus")}
        written["prometheus.yml"] = CONFIGURATION.format(targets=targets)
        for name, text in written.items():
            path = self.folder / name
            path.write_text(text)
            binaries.give(path)
        self.process.start()
        self.process.await_port(self.port)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The present result of a query, from Prometheus' HTTP API."""
        return list(self._get("query", query=expression)["result"])

    def alerts(self) -> dict[str, str]:
        """The state of each alert: inactive, pending, firing."""
        groups = self._get("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return {rule["name"]: rule["state"] for rule in rules if rule["type"] == "alerting"}

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(parameters)}"
        with urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
