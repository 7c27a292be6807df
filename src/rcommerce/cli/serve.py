"""rcommerce serve: the server."""

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.table import Table

from rcommerce import __version__, logs
from rcommerce.cli import demo
from rcommerce.cli.session import ConfigFile, out, running_database
from rcommerce.cli.session import settings as read_settings
from rcommerce.database.cluster import require_room
from rcommerce.errors import SettingsError, StartError
from rcommerce.services import jwt_secret, uses_test_gateway, worker_count
from rcommerce.settings import DatabaseSettings, Settings

BACKLOG = 4096
# Connections per worker, idle ones included: more are not accepted. Concurrent requests are bounded
# by the limiters; open files may be the lower limit (`ulimit -n`).
CONNECTIONS = 100_000
METRICS = "rcommerce-metrics-"


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; 0: one per core.")] = None,
    with_demo: Annotated[
        bool, typer.Option("--demo", help="Load demo products if the shop has none.")
    ] = False,
) -> None:
    """Start the server.

    Without settings: an embedded PostgreSQL under ./data, and http://127.0.0.1:8080.

    Examples:

      rcommerce serve --demo

      RCOMMERCE_SERVER__PORT=9000 rcommerce serve

      rcommerce serve --config /etc/rcommerce.toml
    """
    given = {"HOST": host, "PORT": port, "WORKERS": workers}
    for name, value in given.items():
        if value is not None:
            os.environ[f"RCOMMERCE_SERVER__{name}"] = str(value)
    settings = read_settings(config).settings
    logs.configure(settings.logging)
    jwt_secret(settings)
    uses_test_gateway(settings)
    _tls(settings)
    require_room(settings.database, worker_count(settings))
    _require_free_port(settings)
    begun = time.perf_counter()
    with running_database(settings):
        took_s = time.perf_counter() - begun
        _announce(settings, took_s, demo.ensure(settings) if with_demo else None)
        _run(settings)


def _run(settings: Settings) -> None:
    # Imported once for all workers, which are forked; no other command needs the HTTP framework.
    from rcommerce import app  # noqa: F401
    from rcommerce.telemetry.prometheus import FOLDER

    if settings.cache.cache_type == "Redis":
        from rcommerce.cache import redis_client  # noqa: F401
    for left in Path(tempfile.gettempdir()).glob(f"{METRICS}*"):  # left by servers that were killed
        if not Path("/proc", left.name.removeprefix(METRICS).partition("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{METRICS}{os.getpid()}-") as folder:
        os.environ[FOLDER] = folder  # where the workers combine their metrics
        _serve(settings, Path(folder))


def _serve(settings: Settings, folder: Path) -> None:
    from granian.constants import Interfaces, Loops
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    from rcommerce.cli.lifecycle import Instance

    instance = Instance(
        "rcommerce.app:worker",
        folder=folder,
        drain_delay_s=settings.server.drain_delay_secs,
        factory=True,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        address=settings.server.host,
        port=settings.port,
        http1_settings=HTTP1Settings(
            header_read_timeout=settings.server.limits.header_timeout_secs * 1000
        ),
        **_tls(settings),
        workers=worker_count(settings),
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        respawn_failed_workers=True,
        respawn_interval=1,
        workers_kill_timeout=settings.server.graceful_shutdown_timeout_secs or None,
        log_level=LogLevels.warning,
        log_dictconfig={"loggers": {"_granian": {"propagate": True}}},  # in the format of our log
        websockets=False,
    )
    instance.serve()
    if instance.was_impatient:
        raise typer.Exit(1)


def _tls(settings: Settings) -> dict[str, Any]:
    """What the HTTP server needs for HTTPS. Raises SettingsError."""
    from granian.constants import SSLProtocols

    tls = settings.tls
    if not tls.enabled:
        return {}
    for key, path in (("tls.cert_file", tls.cert_file), ("tls.key_file", tls.key_file)):
        if path is None:
            raise SettingsError(f"tls.enabled = true needs {key}")
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{key}: {path} cannot be read: {error}") from error
        if key == "tls.key_file" and "BEGIN PRIVATE KEY" not in text:
            raise SettingsError(
                f"{key}: {path} is no unencrypted PKCS #8 key in PEM; try:"
                " openssl pkcs8 -topk8 -nocrypt -in key.pem -out key.pkcs8.pem"
            )
        if key == "tls.cert_file" and "BEGIN CERTIFICATE" not in text:
            raise SettingsError(f"{key}: {path} is no certificate in PEM")
    lowest = {"1.2": SSLProtocols.tls12, "1.3": SSLProtocols.tls13}
    return {
        "ssl_cert": tls.cert_file,
        "ssl_key": tls.key_file,
        "ssl_protocol_min": lowest[tls.min_tls_version],
    }


def _require_free_port(settings: Settings) -> None:
    """Raises StartError if the port is in use: the workers would fail less clearly."""
    host, port = settings.server.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"cannot listen on {host}:{port}: {error.strerror or error};"
                " choose another with --port or RCOMMERCE_SERVER__PORT"
            ) from error


def _servers(where: DatabaseSettings) -> str:
    """The servers of the settings, in a few words."""
    parts = [", ".join(where.addresses)]
    if where.pooler != "None":
        parts.append("PgBouncer")
    for count, what in ((len(where.read_replicas), "replica"), (len(where.shards), "shard")):
        if count:
            parts.append(f"{count} {what}{'s' if count > 1 else ''}")
    return " · ".join(parts)


def _announce(settings: Settings, took_s: float, demo_shop: demo.Demo | None) -> None:
    """Prints the addresses: in colour to a terminal, plainly to a log."""
    host = settings.server.host
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - only compared
    base = f"{'https' if settings.tls.enabled else 'http'}://{shown}:{settings.port}"
    where = settings.database
    database = "embedded PostgreSQL" if where.db_type == "Embedded" else _servers(where)
    rows = Table.grid(padding=(0, 2))
    rows.add_row("[dim]API[/dim]", f"[bold]{base}/api/v1[/bold]")
    rows.add_row("[dim]Docs[/dim]", f"[bold]{base}/docs[/bold]")
    rows.add_row("[dim]Fleet[/dim]", f"{base}/ops")
    rows.add_row("[dim]Front page[/dim]", base)
    rows.add_row("[dim]Database[/dim]", f"{database}, ready in {took_s:.1f} s")
    if where.db_type == "Embedded":
        rows.add_row("[dim]Data[/dim]", str(settings.data_dir.absolute()))
    if demo_shop is not None:
        _announce_demo(rows, demo_shop)
    rows.add_row("[dim]Try[/dim]", f"[cyan]curl -s '{base}/api/v1/products?per_page=3'[/cyan]")
    rows.add_row("[dim]Stop[/dim]", "Ctrl-C")
    if out.is_terminal:
        out.print(Panel(rows, title=f"[green]R Commerce {__version__}[/green]", expand=False))
    else:
        out.print(rows, soft_wrap=True)


def _announce_demo(rows: Table, made: demo.Demo) -> None:
    if made.products:
        loaded = f"{made.products:,} products loaded, and a coupon: {demo.WELCOME.code}"
        rows.add_row("[dim]Demo[/dim]", loaded)
    if made.sign_in is not None:
        rows.add_row("[dim]Staff account[/dim]", f"{made.sign_in.email}  {made.sign_in.password}")
        rows.add_row("[dim]API key[/dim]", made.sign_in.api_key)
        rows.add_row("", "Both are for /docs and /ops; the data folder has them in demo.json")
