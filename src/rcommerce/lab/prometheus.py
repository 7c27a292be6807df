"""Prometheus, which asks instances of the server for their figures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from rcommerce.database import binaries
from rcommerce.lab.ports import free_port
from rcommerce.lab.process import Part, Process, installed

CONFIGURATION = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: [{rules}]
scrape_configs:
  - job_name: rcommerce
    static_configs:
      - targets: [{targets}]
"""


def program(name: str = "prometheus") -> Path:
    """Debian's prometheus, or its promtool. Raises StartError."""
    return installed(name, "Prometheus", "prometheus")


class Prometheus(Part):
    """One server, which asks those on these ports each second. `rules` are files of alerts."""

    def __init__(
        self,
        folder: Path,
        ports: Sequence[int],
        rules: Sequence[Path] = (),
        *,
        port: int | None = None,
    ) -> None:
        port = port or free_port()
        self.folder = folder
        self._configuration = CONFIGURATION.format(
            targets=", ".join(f'"127.0.0.1:{each}"' for each in ports),
            rules=", ".join(json.dumps(str(folder / each.name)) for each in rules),
        )
        self._rules = list(rules)
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
        written = {"prometheus.yml": self._configuration}
        written |= {each.name: each.read_text() for each in self._rules}
        for name, text in written.items():
            path = self.folder / name
            path.write_text(text)
            binaries.give(path)
        self.process.start()
        self.process.await_port(self.port)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that a query finds now, as Prometheus' HTTP API tells them."""
        return list(self._get("query", query=expression)["result"])

    def alerts(self) -> dict[str, str]:
        """The state of each alert that the rules have, by its name: inactive, pending, firing."""
        groups = self._get("rules")["groups"]
        return {rule["name"]: rule["state"] for group in groups for rule in group["rules"]}

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(parameters)}"
        with urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
