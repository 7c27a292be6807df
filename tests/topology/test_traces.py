"""A trace goes from the client's own span to the statements of its request, to the store, and to
the job that it leaves behind, which may run in another process."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from conftest import SETTINGS, Running, eventually, picture
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.lab import settings
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.seaweedfs import SeaweedFS
from rcommerce.lab.server import Server
from rcommerce.lab.valkey import Valkey
from rcommerce.lab.worker import Worker
from topology.conftest import FAST, shop_on

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """What the shop's processes send, by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, trace: str) -> dict[str, Span]:
        """The spans of a trace, by their names."""
        return {each.name: each for each in list(self.spans) if each.trace_id.hex() == trace}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sent = ExportTraceServiceRequest.FromString(body)
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def traced(folder: Path) -> Iterator[tuple[Running, Collector]]:
    """A server and a worker, which trace what clients trace."""
    collector = Collector()
    serving = threading.Thread(target=collector.serve_forever)
    serving.start()
    place = folder / "traces"
    try:
        with (
            Postgres(place / "primary", settings=FAST) as primary,
            SeaweedFS(place / "s3") as s3,
            Valkey(place / "valkey") as valkey,
        ):
            given = {
                **SETTINGS,
                **settings.database(primary),
                **s3.settings,
                "RCOMMERCE_CACHE__CACHE_TYPE": "Redis",
                "RCOMMERCE_CACHE__REDIS_URL": valkey.url,
                "RCOMMERCE_TELEMETRY__OTLP_ENDPOINT": collector.url,
                "RCOMMERCE_TELEMETRY__SAMPLE_RATIO": "0",
                "RCOMMERCE_LOGGING__REQUESTS": "true",
                "OTEL_BSP_SCHEDULE_DELAY": "200",  # ms, as OpenTelemetry's own
            }
            server = Server(place / "shop", settings=given)
            with shop_on(server) as shop, Worker(server, "traced"):
                yield shop, collector
    finally:
        collector.shutdown()
        collector.server_close()
        serving.join()


def attributes(span: Span) -> dict[str, str]:
    """The text ones of a span."""
    return {each.key: each.value.string_value for each in span.attributes}


def test_one_trace_from_the_client_to_the_job(traced: tuple[Running, Collector]) -> None:
    shop, collector = traced
    sampled = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    sent = httpx.post(
        f"{shop.guest.url}/api/v1/media",
        files={"file": ("a.jpg", picture())},
        headers={**shop.staff.headers, **sampled},
        timeout=30,
    )
    assert sent.status_code == 201
    read = httpx.get(f"{shop.guest.url}/api/v1/carts/me", headers=sampled)
    assert read.status_code == 401
    job = "job media.render"
    eventually(
        lambda: (
            {"POST /api/v1/media", job, "object store", "postgresql"} <= collector.of(TRACE).keys()
        ),
        timeout_s=30,
    )
    spans = [each for each in collector.spans if each.trace_id.hex() == TRACE]
    by_id = {each.span_id: each for each in spans}
    request = collector.of(TRACE)["POST /api/v1/media"]
    assert request.parent_span_id.hex() == PARENT
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request)["http.route"] == "/api/v1/media"
    assert collector.of(TRACE)[job].kind == Span.SPAN_KIND_CONSUMER
    assert by_id[collector.of(TRACE)[job].parent_span_id].name == "POST /api/v1/media"
    statements = [attributes(each) for each in spans if each.name == "postgresql"]
    assert any("insert into media" in each["db.query.text"] for each in statements)
    assert all(each["db.system.name"] == "postgresql" for each in statements)
    # No value of a client's is in any of them, and the log has the same trace.
    key = shop.staff.headers["Authorization"].partition(" ")[2]
    assert all(key not in str(each) for each in spans)
    lines = [
        json.loads(line) for line in shop.server.log.read_text().splitlines() if line[:1] == "{"
    ]
    reported = [
        each for each in lines if each.get("trace_id") == TRACE and each["event"] == "request"
    ]
    assert {each["route"] for each in reported} >= {"/api/v1/media"}


def test_what_nobody_traces_is_not_traced(traced: tuple[Running, Collector]) -> None:
    shop, collector = traced
    other = "5bf92f3577b34da6a3ce929d0e0e4737"
    for flags in ("00", "zz"):
        httpx.get(
            f"{shop.guest.url}/api/v1/carts/me",
            headers={"traceparent": f"00-{other}-{PARENT}-{flags}"},
        )
    sampled = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    httpx.get(f"{shop.guest.url}/api/v1/products", headers=sampled)
    httpx.get(f"{shop.guest.url}/api/v1/carts/me", headers=sampled)
    eventually(lambda: collector.of(TRACE))
    assert not collector.of(other)
    assert {each.trace_id.hex() for each in collector.spans} == {TRACE}


@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "is silent"])
def test_a_collector_that_is_away_holds_no_process_up(folder: Path, is_silent: bool) -> None:
    """The library itself would try for ten seconds; what it says is in the log's own form."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if is_silent:
            silent.listen()
        given = {
            **SETTINGS,
            "RCOMMERCE_SERVER__DRAIN_DELAY_SECS": "0",
            "RCOMMERCE_TELEMETRY__OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "RCOMMERCE_TELEMETRY__SAMPLE_RATIO": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        server = Server(folder / f"untraced-{is_silent}", settings=given)
        with EmbeddedPostgres(server.data_dir / "postgres"), server:
            for _ in range(5):
                httpx.get(f"{server.url}/api/v1/carts/me")
            time.sleep(1)  # an attempt is under way
            assert server.stop() == 0
        lines = [line for line in server.log.read_text().splitlines() if "opentelemetry" in line]
        assert lines or is_silent
        for line in lines:
            assert json.loads(line)["level"] in ("warning", "error")
