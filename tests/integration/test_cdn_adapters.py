"""The adapters of CDNs against what their makers' API documentation has recorded."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from rcommerce.cdn.adapters import Adapter, CdnError, Cloudflare, Fastly
from rcommerce.settings.schema import Cdn

CONTRACTS = Path(__file__).parents[1] / "data" / "contracts"
TOKEN = "token-of-the-shop"


@contextmanager
def recorded(answer: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives one answer; its address, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(size)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append(
                {
                    "method": "POST",
                    "path": self.path,
                    "headers": headers,
                    "body": json.loads(raw) if raw else None,
                }
            )
            body = json.dumps(answer["body"]).encode()
            self.send_response(answer["status"])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def adapter(name: str, url: str) -> Adapter:
    if name == "cloudflare":
        zone = "023e105f4ecef8ad9ca31a8372d0c353"
        return Cloudflare(
            Cdn(
                api_token=TOKEN,
                cloudflare_zone_id=zone,
                cloudflare_url=f"{url}/client/v4",
            )
        )
    return Fastly(Cdn(api_token=TOKEN, fastly_service_id="SU1Z0isxPaozGVKXdv0eY", fastly_url=url))


@pytest.mark.parametrize("name", ["cloudflare", "fastly"])
def test_a_purge_is_sent_as_the_contract_has_it(name: str) -> None:
    contract = json.loads((CONTRACTS / f"{name}-purge.json").read_text())
    with recorded(contract["response"]) as (url, asked):
        asyncio.run(adapter(name, url).purge(["a-cache-tag", "another-cache-tag"]))
    wanted, (sent,) = contract["request"], asked
    assert (sent["method"], sent["path"]) == (wanted["method"], wanted["path"])
    assert sent["body"] == wanted["body"]
    assert wanted["headers"].items() <= sent["headers"].items()
    assert adapter(name, url).most_tags == contract["most_tags"]
    assert adapter(name, url).tags_header.decode() == contract["tags_header"]


@pytest.mark.parametrize("name", ["cloudflare", "fastly"])
def test_a_refusal_is_an_error_that_says_why(name: str) -> None:
    contract = json.loads((CONTRACTS / f"{name}-purge.json").read_text())
    with recorded(contract["refusal"]) as (url, _), pytest.raises(CdnError) as caught:
        asyncio.run(adapter(name, url).purge(["a"]))
    assert str(list(contract["refusal"]["body"].values())[-1])[:12] in str(caught.value) or (
        "1107" in str(caught.value)
    )


def test_a_cdn_that_is_away_is_an_error_and_no_crash() -> None:
    with pytest.raises(CdnError, match=r"127\.0\.0\.1:9"):
        asyncio.run(adapter("fastly", "http://127.0.0.1:9").purge(["a"]))
