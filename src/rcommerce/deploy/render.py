"""Renders files from a fleet: each target is a folder of templates."""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial, reduce
from itertools import combinations
from pathlib import Path
from typing import Any

import jinja2

from rcommerce import __version__
from rcommerce.deploy import arithmetic
from rcommerce.deploy.fleet import Fleet, Instance, split
from rcommerce.deploy.secrets import ALWAYS, public
from rcommerce.errors import SettingsError, StartError
from rcommerce.settings import Settings

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".j2"
TARGETS = {
    "nginx": "a balancer with active health checks, a micro-cache and limits",
    "haproxy": "another balancer, with the same checks",
    "pgbouncer": "the pooler before PostgreSQL",
    "kubernetes": "a Kustomize base with overlays: instances, workers, migration, autoscaling",
    "helm": "the same objects as a chart, with what may be overridden as its values",
    "aws": "a CloudFormation stack: instances that scale, PostgreSQL, Valkey, S3, CloudFront",
    "compose": "a shop on one machine, and the container's image",
    "systemd": "hardened units, and a rolling restart",
    "prometheus": "scraping, rules, alerts with their tests, and Alertmanager's routes",
    "grafana": "dashboards, and how they get there",
}
# How many instances may be down at once for nginx to have an upstream without them.
FEW, MISSING_OF_FEW, MISSING_OF_MANY = 10, 2, 1
# Targets that contain the settings file, and targets that need the instances' addresses.
_OF_SETTINGS = frozenset({"kubernetes", "helm", "compose", "systemd"})
_OF_ADDRESSES = frozenset({"nginx", "haproxy", "prometheus"})
HEADER = "Rendered by rcommerce {version} out of {place}: change that, and render again."


def render(fleet: Fleet, targets: Sequence[str], out: Path) -> list[Path]:
    """Renders targets below a folder, each in its own; returns their paths. Existing files are
    replaced, others not touched. Raises SettingsError, StartError."""
    arithmetic.require_sound(fleet)
    texts = [each for target in targets for each in rendered(fleet, target)]
    written = []
    for name, text in texts:
        path = out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StartError(f"{path} cannot be written: {error.strerror}") from error
        written.append(path)
    return written


def rendered(fleet: Fleet, target: str) -> Iterator[tuple[str, str]]:
    """The files of one target: path and text, always the same for the same fleet. Raises
    SettingsError."""
    if target in _OF_ADDRESSES and not fleet.instances:
        raise SettingsError(
            f"{fleet.place}: instances.addresses: {target} has to know where the instances are,"
            ' such as ["10.0.1.10", "10.0.1.11"]'
        )
    context = _context(fleet, target)
    if target == "pgbouncer" and context["pooler"] is None:
        raise SettingsError(
            f'{fleet.place}: no database of {fleet.file.settings} has pooler = "pgbouncer", with'
            " hosts = [its address] and direct_hosts = [the servers behind it]"
        )
    for path in sorted((TEMPLATES / target).rglob(f"[!_]*{SUFFIX}")):
        name = path.relative_to(TEMPLATES).as_posix()
        text = _templates().get_template(name).render(context)
        if text.strip():  # some fleets have no such file
            yield name.removesuffix(SUFFIX), text


@cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - what is rendered are settings files
    )
    found.filters["quoted"] = json.dumps  # a JSON string is a YAML string
    return found


def _context(fleet: Fleet, target: str) -> dict[str, Any]:
    file, settings = fleet.file, fleet.settings
    staging = file.kubernetes.staging_settings
    settings_toml, secrets = public(fleet.settings_path) if target in _OF_SETTINGS else ("", [])
    return {
        "version": __version__,
        "header": HEADER.format(version=__version__, place=fleet.place.name),
        "fleet": fleet,
        "file": file,
        "settings": settings,
        "domain": file.domain,
        "instances": fleet.instances,
        "health": file.health,
        "groups": list(_groups(fleet.instances)),
        "largest_mb": max(settings.media.max_upload_mb, settings.server.limits.max_request_size_mb),
        "pooler": _pooler(fleet),
        "settings_toml": settings_toml,
        "secrets": secrets,
        "always": ALWAYS,
        "staging_toml": public(fleet.place.parent / staging)[0] if staging else "",
        "k8s": file.kubernetes,
        "aws": file.aws,
        "pre_stop_s": file.kubernetes.pre_stop_s,
        "chart": target == "helm",
        "own": partial(_value, fleet, is_chart=target == "helm"),
        "release": "{{ .Release.Revision }}" if target == "helm" else _tag(file.image),
        "egress_ports": _egress_ports(settings),
        "cpus": _cpus,
    }


def _groups(instances: Sequence[Instance]) -> Iterator[tuple[str, list[Instance]]]:
    """All instances, and all except those that may be down at once, by a descriptive name."""
    yield "rcommerce", list(instances)
    most = MISSING_OF_FEW if len(instances) <= FEW else MISSING_OF_MANY
    for count in range(1, min(most, len(instances) - 1) + 1):
        for out in combinations(range(len(instances)), count):
            name = "rcommerce_without_" + "_".join(str(number + 1) for number in out)
            yield name, [each for number, each in enumerate(instances) if number not in out]


def _pooler(fleet: Fleet) -> dict[str, Any] | None:
    """PgBouncer's address, and what is behind it. All of a fleet have the same file."""
    found = arithmetic.poolers(fleet)
    users = {name: node for each in found.values() for name, node in each}
    if not users:
        return None
    databases = []
    for name, node in users.items():
        host, port = split(node.direct_addresses[0])
        databases.append({"shard": name, "name": node.database, "host": host, "port": port})
    addresses = [split(address, 6432) for address in found]
    return {
        "hosts": [host for host, _ in addresses],
        "port": addresses[0][1],
        "databases": databases,
        "user": next(iter(users.values())).username,
        "clients": sum(node.pool_size for node in users.values()),
    }


def _value(fleet: Fleet, path: str, *, is_chart: bool) -> Any:
    """The value in fleet.toml, such as "instances.min"; in a chart, the reference to its values."""
    if is_chart:
        return f"{{{{ .Values.{path} }}}}"
    if path == "instances.processes":
        return fleet.processes
    found = reduce(getattr, path.split("."), fleet.file)
    return _cpus(found) if isinstance(found, float) else found


def _tag(image: str) -> str:
    """An image's tag as part of a name of Kubernetes."""
    tag = image.rpartition("/")[2].partition(":")[2] or "latest"
    return re.sub(r"[^a-z0-9]+", "-", tag.lower()).strip("-")[:40]


def _cpus(count: float) -> str:
    """Processors as Kubernetes writes them."""
    return str(int(count)) if count == int(count) else f"{round(count * 1000)}m"


def _egress_ports(settings: Settings) -> list[int]:
    """The addresses that instances must reach."""
    ports = {443}
    for node in (settings.database, *settings.database.shards):
        for address in (*node.addresses, *node.direct_addresses, *node.read_replicas):
            ports.add(split(address)[1])
    for url, usual in (
        (settings.cache.redis_url, 6379),
        (settings.media.s3_endpoint, 80),
        (settings.telemetry.otlp_endpoint, 4318),
    ):
        for each in (url or "").partition("://")[2].split(","):
            if each:
                ports.add(split(each.rpartition("@")[2].partition("/")[0], usual)[1])
    if settings.notifications.email.smtp_host:
        ports.add(settings.notifications.email.smtp_port)
    return sorted(ports)
