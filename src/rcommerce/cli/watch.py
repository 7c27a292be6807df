"""The fleet in a terminal, as on the page /ops."""

import datetime
import time
from collections.abc import Iterator, Sequence

import httpx
import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rcommerce.errors import StartError
from rcommerce.http.ops import STREAM
from rcommerce.telemetry.overview import Event, Instance, ShardView, View

TIMEOUT_S = 5.0  # seconds between two views
RETRY_S = 0.5
EVENTS = 12
MOODS = {"good": "green", "bad": "red", "neutral": ""}
STATES = {"up": "green", "draining": "yellow", "silent": "red", "down": "red", "lagging": "yellow"}


def views(urls: Sequence[str], key: str | None) -> Iterator[View | str]:
    """One view a second from one of these instances; from the next one when it ends. In between a
    message why there is none. Raises StartError if the key does not suffice."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    number = 0
    with httpx.Client(headers=headers, timeout=TIMEOUT_S) as client:
        while True:
            url = urls[number % len(urls)]
            try:
                with client.stream("GET", url + STREAM) as answer:
                    _require(url, answer)
                    for line in answer.iter_lines():
                        if line.startswith("data: "):
                            yield msgspec.json.decode(line[6:], type=View)
                why = "the instance has ended"
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
            number += 1
            yield f"{url}: {why}; asking {urls[number % len(urls)]}"
            time.sleep(RETRY_S)


def _require(url: str, answer: httpx.Response) -> None:
    if answer.status_code in (401, 403):
        answer.read()
        raise StartError(f"{url}: {answer.json()['detail']}; give a key with --key")
    if answer.status_code != 200:
        raise StartError(f"{url}{STREAM} answers {answer.status_code}: is it R Commerce?")


def drawn(view: View, note: str = "") -> RenderableType:
    """The view as it is printed; `note` is a line above it."""
    servers = [each for each in view.instances if each.kind == "server" and each.state != "silent"]
    total = Text.assemble(
        (f"{sum(each.requests_per_s for each in servers):,.0f}", "bold"), " requests/s   ",
        (f"{sum(each.orders_per_s for each in servers):,.1f}", "bold"), " orders/s   ",
        (f"{sum(each.errors_per_s for each in servers):,.1f}", "bold"), " errors/s   ",
        (f"{sum(each.refused_per_s for each in servers):,.1f}", "bold"), " refused/s   ",
        (f"as seen by {view.seen_by}, {_clock(view.at)}", "dim"),
    )  # fmt: skip
    parts: list[RenderableType] = [total]
    if note:
        parts.append(Text(note, "yellow"))
    if view.heard_s:
        parts.append(
            Text(
                f"The control database is unavailable: this data is {view.heard_s:.0f} s old.",
                "red",
            )
        )
    parts += [_instances(view.instances), _shards(view.shards), *_events(view.events)]
    return Group(*parts)


def _instances(instances: Sequence[Instance]) -> Table:
    table = _table(
        "instance", "up", "requests/s", "p50 ms", "p99 ms", "errors/s", "memory hits", "Redis hits",
        "CPU", "MB", "degraded, differs in",
    )  # fmt: skip
    for each in instances:
        troubles = [*each.open_breakers, *(f"other {key}" for key in each.drift)]
        table.add_row(
            _state(each.name, each.state),
            _age(each.up_s) if each.state == "up" else each.state,
            f"{each.requests_per_s:,.0f}",
            _number(each.p50_ms),
            _number(each.p99_ms),
            Text(f"{each.errors_per_s:,.1f}", "red" if each.errors_per_s else ""),
            _percent(each.memory_hit_ratio),
            _percent(each.redis_hit_ratio),
            _percent(each.cpu),
            f"{each.memory_mb:,.0f}",
            Text(", ".join(troubles), "red"),
        )
    return table


def _shards(shards: Sequence[ShardView]) -> Table:
    table = _table("shard", "shops", "primary ms", "jobs", "failed", "oldest", "replicas")
    for each in shards:
        replicas = (f"{one.name} {one.state}, {one.lag_s:g} s behind" for one in each.replicas)
        jobs = None if each.jobs_waiting is None else each.jobs_waiting + (each.jobs_running or 0)
        table.add_row(
            _state(each.name, each.primary.state),
            _number(each.tenants),
            _number(each.primary.latency_ms) if each.primary.state == "up" else "-",
            _number(jobs),
            Text(_number(each.jobs_failed), "red" if each.jobs_failed else ""),
            "-" if each.oldest_job_s is None else _age(each.oldest_job_s),
            "; ".join(replicas),
        )
    return table


def _events(events: Sequence[Event]) -> list[Text]:
    return [
        Text.assemble((f"{_clock(each.at)}  ", "dim"), (each.text, MOODS[each.mood]))
        for each in list(events)[: -EVENTS - 1 : -1]
    ]


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        is_text = name in ("instance", "shard", "replicas") or "," in name
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text)
    return table


def _state(name: str, state: str) -> Text:
    return Text.assemble(("● ", STATES.get(state, "yellow")), name)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _clock(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
