"""What the server does against those who mean it no good."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import SETTINGS, Running, eventually, running
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.lab.server import Server
from rcommerce.ports import free_port


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Running]:
    """A server with little patience, and no more to say than it must."""
    settings = {
        **SETTINGS,
        "RCOMMERCE_SERVER__REQUEST_TIMEOUT_SECS": "2",
        "RCOMMERCE_SERVER__LIMITS__HEADER_TIMEOUT_SECS": "1",
        "RCOMMERCE_LOGGING__LEVEL": "error",
    }
    server = Server(folder / "strict", settings=settings)
    with EmbeddedPostgres(server.data_dir / "postgres"), server:
        yield running(server)


@pytest.mark.parametrize("path", ["/api/v1/products", "/api/v1/carts/me", "/health", "/", "/docs"])
def test_every_answer_is_what_it_says_it_is(strict: Running, path: str) -> None:
    for _ in range(2):  # the second of products is out of memory
        answer = httpx.get(f"{strict.guest.url}{path}")
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        assert "Strict-Transport-Security" not in answer.headers


def test_pages_are_framed_by_nobody_and_run_no_scripts_of_others(strict: Running) -> None:
    for path in ("/", "/docs"):
        answer = httpx.get(f"{strict.guest.url}{path}", headers={"Accept": "text/html"})
        assert answer.headers["X-Frame-Options"] == "DENY"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "script-src" not in policy  # as the default
        assert "<script>" not in answer.text


def test_a_client_that_is_slow_with_its_headers_is_left(strict: Running) -> None:
    with socket.create_connection(("127.0.0.1", strict.server.port)) as connection:
        connection.settimeout(60)
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        with contextlib.suppress(ConnectionError):
            while connection.recv(1024):
                pass


@pytest.mark.parametrize("path", ["/api/v1/carts/guest", "/api/v1/media"])
def test_a_client_that_is_slow_with_its_body_is_told_so(strict: Running, path: str) -> None:
    who = strict.staff.headers["Authorization"]
    is_upload = path.endswith("media")
    media_type = "multipart/form-data; boundary=x" if is_upload else "application/json"
    request = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {who}\r\nConnection: close\r\n"
        f"Content-Type: {media_type}\r\nContent-Length: 5000\r\n\r\n{{"
    )
    with socket.create_connection(("127.0.0.1", strict.server.port)) as connection:
        connection.settimeout(10)
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 408 "), answer
    assert '"code":"request_timeout"' in answer


@pytest.mark.parametrize("address", ["/api/v1/products?q=%FF", "/api/v1/carts/me?x=%00"])
def test_a_page_of_another_site_may_read_what_was_wrong(strict: Running, address: str) -> None:
    """Also where it was refused before the framework saw it."""
    for origin in ("https://a.example", "https://b.example"):
        answer = httpx.get(f"{strict.guest.url}{address}", headers={"Origin": origin})
        assert answer.status_code == 400
        assert answer.headers.get_list("Access-Control-Allow-Origin") == ["*"]


def test_what_staff_and_keys_do_is_in_the_books_whatever_the_level(strict: Running) -> None:
    product = strict.product()
    strict.staff("PATCH", f"/products/{product['id']}", {"title": "Secret name"}, expect=200)
    strict.staff.get("/products")
    narrow = json.loads(
        strict.server.command("apikey", "create", "--scope", "orders:read", "--json").stdout
    )
    key = narrow["key"]
    by_key = strict.guest.by(Authorization=f"Bearer {key}")
    by_key("DELETE", f"/products/{product['id']}", expect=403)

    def books() -> list[dict[str, object]]:
        lines = strict.server.log.read_text().splitlines()
        parsed = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in parsed if each["event"] == "audit"]

    eventually(lambda: books()[-1]["status"] == 403)
    changed, refused = books()[-2:]
    assert (changed["method"], changed["status"]) == ("PATCH", 200)
    assert changed["path"] == f"/api/v1/products/{product['id']}"
    assert str(changed["caller"]).startswith("key:")
    assert changed["request_id"]
    assert changed["tenant"]
    assert changed["address"] == "127.0.0.1"
    assert (refused["method"], refused["code"]) == ("DELETE", "missing_scope")
    assert refused["caller"] != changed["caller"]
    text = strict.server.log.read_text()
    assert "Secret name" not in text
    assert key not in text


def test_https_by_the_server_itself(folder: Path) -> None:
    at = folder / "tls"
    at.mkdir()
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
        " -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1",
        "rsa -in key.pem -traditional -out old.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=at, check=True, capture_output=True)
    port = free_port()
    server = Server(
        at / "shop",
        settings={
            **SETTINGS,
            "RCOMMERCE_TLS__ENABLED": "true",
            "RCOMMERCE_TLS__CERT_FILE": str(at / "cert.pem"),
            "RCOMMERCE_TLS__KEY_FILE": str(at / "key.pem"),
            "RCOMMERCE_TLS__HTTPS_PORT": str(port),
            "RCOMMERCE_TLS__MIN_TLS_VERSION": "1.3",
            "RCOMMERCE_TLS__HSTS__ENABLED": "true",
        },
    )
    for key, value, what in (
        ("RCOMMERCE_TLS__KEY_FILE", str(at / "old.pem"), "PKCS #8"),
        ("RCOMMERCE_TLS__KEY_FILE", str(at / "none.pem"), "tls.key_file"),
        ("RCOMMERCE_TLS__CERT_FILE", "", "tls.cert_file"),
    ):
        refused = server.command("serve", **{key: value})
        assert refused.returncode == 2
        assert what in refused.stderr
        assert "Traceback" not in refused.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "rcommerce", "serve", "--workers", "1"],
        env=server.environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        trust = ssl.create_default_context(cafile=str(at / "cert.pem"))
        url = f"https://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/health", verify=trust).status_code == 200
            except httpx.ConnectError:
                return False

        eventually(answers, timeout_s=30)
        products = httpx.get(f"{url}/api/v1/products", verify=trust)
        assert products.headers["Strict-Transport-Security"] == "max-age=31536000"
        old = ssl.create_default_context(cafile=str(at / "cert.pem"))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.ConnectError, match=r"(?i)protocol|version|alert"):
            httpx.get(f"{url}/health", verify=old)
    finally:
        process.terminate()
        process.wait(30)
