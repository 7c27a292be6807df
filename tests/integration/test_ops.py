"""The page of the whole installation: who may see it, what it shows, and that it can be read on a
desk, at night and on a phone. In a real browser."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from conftest import Running, api_key, eventually
from rcommerce.errors import StartError
from rcommerce.lab.process import installed

SCREENS: dict[str, Any] = {
    "light": {"viewport": {"width": 1400, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1400, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}


def state(shop: Running) -> Any:
    answer = httpx.get(f"{shop.server.url}/ops/state", headers=shop.staff.headers, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_whole_fleet_is_seen_by_any_instance(shop: Running) -> None:
    def is_all_there() -> bool:
        servers = [each for each in state(shop)["instances"] if each["kind"] == "server"]
        return len(servers) == 1 and servers[0]["processes"] == 2

    eventually(is_all_there)
    found = state(shop)
    [server] = [each for each in found["instances"] if each["kind"] == "server"]
    assert (server["state"], server["version"], server["drift"]) == ("up", "0.1.0", [])
    assert server["memory_mb"] > 20
    assert server["pools"][0]["size"] > 0
    names = {shard["name"] for shard in found["shards"]}
    assert "main" in names
    assert sum(shard["tenants"] for shard in found["shards"]) >= 1
    assert all(shard["primary"]["state"] == "up" for shard in found["shards"])
    assert all(shard["jobs_waiting"] is not None for shard in found["shards"])


def test_figures_are_of_what_was_asked(shop: Running) -> None:
    def has_figures() -> bool:
        for _ in range(50):
            shop.guest.get("/products")
        [server] = [each for each in state(shop)["instances"] if each["kind"] == "server"]
        return server["requests_per_s"] > 1 and server["p99_ms"] is not None

    eventually(has_figures)


def test_only_the_staff_of_the_installation_may_see_it(shop: Running) -> None:
    url = shop.server.url
    for path in ("/ops/state", "/ops/stream"):
        assert httpx.get(url + path).status_code == 401
        little = api_key(shop.server, "--scope", "products:read")
        refused = httpx.get(url + path, headers={"Authorization": f"Bearer {little}"})
        assert refused.status_code == 403
        assert "tenants:read" in refused.json()["detail"]
    made = shop.server.command("tenant", "create", "ops-other", "--currency", "USD", "--json")
    assert made.returncode == 0, made.stderr
    other = api_key(shop.server, "--all", "--tenant", "ops-other")
    refused = httpx.get(f"{url}/ops/state", headers={"Authorization": f"Bearer {other}"})
    assert refused.status_code == 403
    enough = api_key(shop.server, "--scope", "tenants:read")
    answer = httpx.get(f"{url}/ops/state", headers={"Authorization": f"Bearer {enough}"})
    assert answer.status_code == 200


def test_the_terminal_shows_the_same(shop: Running) -> None:
    key = shop.staff.headers["Authorization"].removeprefix("Bearer ")
    watch = ("lab", "watch", "--url", shop.server.url, "--once")
    reported = shop.server.command(*watch, "--key", key)
    assert reported.returncode == 0, reported.stderr
    assert "requests/s" in reported.stdout
    reported = shop.server.command(*watch, "--json", RCOMMERCE_KEY=key)
    assert json.loads(reported.stdout)["instances"]
    refused = shop.server.command(*watch)
    assert refused.returncode == 1
    assert "--key" in refused.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium."""
    try:
        program = installed("chromium", "Chromium", "chromium")
    except StartError as error:
        pytest.skip(str(error))
    with sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(
                executable_path=str(program), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
        except Error as error:
            pytest.skip(f"chromium does not start: {error}")
        yield made
        made.close()


@contextmanager
def shown(browser: Browser, shop: Running, screen: str) -> Iterator[Page]:
    """The page; at the end no script has failed, and everything came from this server."""
    context = browser.new_context(**SCREENS[screen])
    page = context.new_page()
    faults: list[str] = []
    elsewhere: list[str] = []
    ours = urlsplit(shop.server.url).netloc
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: (
            elsewhere.append(request.url)
            if urlsplit(request.url).netloc not in (ours, "")
            else None
        ),
    )
    page.goto(f"{shop.server.url}/ops")
    yield page
    assert faults == []
    assert elsewhere == []
    context.close()


@pytest.mark.parametrize("screen", SCREENS)
def test_the_page_asks_for_a_key_and_shows_the_fleet_live(
    browser: Browser, shop: Running, screen: str
) -> None:
    key = shop.staff.headers["Authorization"].removeprefix("Bearer ")
    with shown(browser, shop, screen) as page:
        page.get_by_label("API key with").fill("ak_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#refused")).not_to_be_empty()
        page.get_by_label("API key with").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#link")).to_have_attribute("data-state", "live")
        expect(page.locator("#instances tbody tr").first).to_contain_text("0.1.0")
        expect(page.locator("#shards tbody tr").first).to_contain_text("main")
        before = page.locator("#link").text_content()
        expect(page.locator("#link")).not_to_have_text(str(before), timeout=10_000)  # a second on
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, "the page scrolls sideways"
        colours = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (colours == "rgb(13, 17, 23)") is (screen == "dark")
