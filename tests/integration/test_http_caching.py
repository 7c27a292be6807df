"""What caches between the shop and its customers are told (RFC 9110, 9111)."""

import gzip
import http.client
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import brotli
import httpx
import pytest
import zstandard
from httplint import HttpRequestLinter, HttpResponseLinter
from httplint.note import levels

from conftest import PROPAGATION_S, Running

PUBLIC = [
    "/api/v1/products",
    "/api/v1/products?sort=price&per_page=5",
    "/api/v1/products/{id}",
    "/api/v1/collections",
    "/api/v1/categories",
    "/api/v1/openapi.json",
    "/",
    "/docs",
    "/docs/swagger-ui.css",
]
HELD = PUBLIC[:5]
# Of what the linter says: why it is right as it is.
ACCEPTED = {
    "VARY_COMPLEX": "which shop, who asks, what he has written: each makes it another answer",
}


@dataclass
class Raw:
    """An answer as it came over the wire."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return next(v.decode() for n, v in self.fields if n.decode().lower() == name)


def ask(shop: Running, path: str, method: str = "GET", **headers: str) -> Raw:
    address = urlsplit(shop.server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    fields = [(name.encode(), value.encode()) for name, value in answer.getheaders()]
    return Raw(answer.status, fields, body)


@pytest.fixture(scope="module")
def product(embedded_shop: Running) -> dict[str, Any]:
    made = embedded_shop.product(description="Long. " * 200)
    time.sleep(PROPAGATION_S)
    return made


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_answer_can_be_kept_and_asked_for_again(
    embedded_shop: Running, product: dict[str, Any], path: str
) -> None:
    path = path.format(id=product["id"])
    whole = ask(embedded_shop, path)
    assert whole.status == 200
    etag = whole["etag"]
    assert etag.startswith('"')  # strong
    assert "max-age=" in whole["cache-control"]
    again = ask(embedded_shop, path, If_None_Match=f'"other", {etag}')
    assert (again.status, again.body) == (304, b"")
    assert again["etag"] == etag
    assert again["cache-control"] == whole["cache-control"]
    assert ask(embedded_shop, path, If_None_Match='"other"').status == 200
    head = ask(embedded_shop, path, "HEAD")
    assert (head.status, head.body, head["etag"]) == (200, b"", etag)
    assert head["content-length"] == str(len(whole.body))


@pytest.mark.parametrize("path", HELD)
def test_a_cdn_is_told_what_it_needs(
    embedded_shop: Running, product: dict[str, Any], path: str
) -> None:
    answer = ask(embedded_shop, path.format(id=product["id"]))
    for word in ("s-maxage=300", "stale-while-revalidate=", "stale-if-error="):
        assert word in answer["cache-control"]
    # Tags are for a CDN that is told: see topology/test_cdn.py.
    assert not {b"cache-tag", b"surrogate-key"} & {name.lower() for name, _ in answer.fields}
    assert int(answer["age"]) >= 0
    varied = {each.strip().lower() for each in answer["vary"].split(",")}
    assert varied >= {"accept-encoding", "authorization", "x-tenant-id", "x-consistency-token"}


def test_each_encoding_has_its_own_tag_and_the_same_text(
    embedded_shop: Running, product: dict[str, Any]
) -> None:
    path = f"/api/v1/products/{product['id']}"
    plain = ask(embedded_shop, path, Accept_Encoding="identity")
    decoders = {
        "br": brotli.decompress,
        "gzip": gzip.decompress,
        "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
    }
    tags = {plain["etag"]}
    for encoding, decode in decoders.items():
        answer = ask(embedded_shop, path, Accept_Encoding=f"{encoding}, identity;q=0.5")
        assert answer["content-encoding"] == encoding
        assert decode(answer.body) == plain.body
        assert len(answer.body) < len(plain.body) // 2
        tags.add(answer["etag"])
        assert (
            ask(embedded_shop, path, Accept_Encoding=encoding, If_None_Match=answer["etag"]).status
            == 304
        )
        # A writer may name any of them.
        changed = embedded_shop.staff(
            "PATCH", f"/products/{product['id']}", {"vendor": ""}, If_Match='"0.0"'
        )
        assert changed.status_code == 412
    assert len(tags) == 4
    assert (
        ask(embedded_shop, path, Accept_Encoding="br;q=0, gzip;q=0.1, zstd;q=0")["content-encoding"]
        == "gzip"
    )
    assert ask(embedded_shop, path, Accept_Encoding="br, zstd;q=bad").status == 200


def test_what_is_somebodys_own_is_kept_by_nobody(embedded_shop: Running) -> None:
    shop = embedded_shop
    cart, shopper = shop.cart((shop.product(), 1))
    answers = [
        shopper("GET", f"/carts/{cart}"),
        shop.staff("GET", "/products"),
        shop.staff("GET", "/orders"),
        shop.staff("GET", "/inventory"),
        shop.guest("GET", "/products/nothing-like-it"),
        shop.guest("GET", "/customers/me"),
    ]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store", answer.url


def test_staff_see_drafts_and_costs_and_nobody_else_gets_them_from_memory(
    embedded_shop: Running,
) -> None:
    shop = embedded_shop
    draft = shop.product(status="draft", title="Secret plan")
    path = f"/products/{draft['id']}"
    for _ in range(3):
        assert shop.staff("GET", path).status_code == 200
        assert shop.guest("GET", path).status_code == 404
    assert "Secret plan" not in shop.guest("GET", "/products?per_page=100").text


def test_the_order_of_parameters_makes_no_other_page(embedded_shop: Running) -> None:
    embedded_shop.product()
    time.sleep(PROPAGATION_S)
    url = f"{embedded_shop.server.url}/api/v1/products"
    with httpx.Client() as client:  # one connection: one worker
        client.get(f"{url}?sort=title&per_page=7")
        answer = client.get(f"{url}?per_page=7&sort=title")
        assert answer.headers["cache-status"] == "rcommerce; hit"
        assert (
            client.get(f"{url}?per_page=7&sort=price").headers["cache-status"] != "rcommerce; hit"
        )


def test_a_page_of_another_site_may_read_it_as_before(
    embedded_shop: Running, product: dict[str, Any]
) -> None:
    for _ in range(2):
        answer = ask(embedded_shop, f"/api/v1/products/{product['id']}", Origin="https://a.example")
        assert answer["access-control-allow-origin"] == "*"
    again = ask(
        embedded_shop,
        f"/api/v1/products/{product['id']}",
        Origin="https://a.example",
        If_None_Match=answer["etag"],
    )
    assert (again.status, again["access-control-allow-origin"]) == (304, "*")


def test_a_change_is_seen_in_every_list_that_shows_it(embedded_shop: Running) -> None:
    """Each kind of change, against each kind of list that depends on it."""
    shop = embedded_shop
    product = shop.product(price="20.00", stock=5, product_type="Tagged", vendor="Tagged")
    variant = product["variants"][0]["id"]
    collection = shop.staff.post("/collections", {"title": f"C {product['id']}"})["collection"]
    category = shop.staff.post("/categories", {"name": f"K {product['id']}"})["category"]
    lists = {
        "all": "/products?product_type=Tagged",
        "price": "/products?vendor=Tagged&min_price=19&sort=price",
        "stock": "/products?vendor=Tagged&inventory_status=in_stock",
        "collection": f"/products?collection_id={collection['id']}",
        "category": f"/products?category={category['id']}",
        "search": f"/products?q={product['title'].split()[1]}",
    }

    def listed(name: str) -> bool:
        rows = shop.guest.get(lists[name])["products"]
        return product["id"] in {row["id"] for row in rows}

    def detail() -> dict[str, Any]:
        found: dict[str, Any] = shop.guest.get(f"/products/{product['id']}")["product"]
        return found

    assert [name for name in lists if listed(name)] == ["all", "price", "stock", "search"]
    path = f"/products/{product['id']}"
    shop.staff("PUT", f"/collections/{collection['id']}", {"product_ids": [product["id"]]}, 200)
    shop.staff("PATCH", path, {"category_id": category["id"]}, 200)
    assert all(listed(name) for name in lists)
    assert detail()["collections"][0]["title"] == collection["title"]
    shop.staff("PATCH", f"/collections/{collection['id']}", {"title": "Renamed"}, 200)
    assert detail()["collections"][0]["title"] == "Renamed"
    shop.staff("PATCH", f"/collections/{collection['id']}", {"is_active": False}, 200)
    assert detail()["collections"] == []
    shop.staff("PATCH", f"/collections/{collection['id']}", {"is_active": True}, 200)
    assert detail()["collections"] != []
    shop.staff("PATCH", f"/categories/{category['id']}", {"name": "Renamed"}, 200)
    assert detail()["category"]["name"] == "Renamed"
    assert shop.guest.get(lists["all"])["products"][0]["category"]["name"] == "Renamed"
    shop.staff("PATCH", path, {"price": "10.00"}, 200)
    assert not listed("price")
    assert detail()["price"] == "10.00"
    shop.staff.post("/inventory/set", {"variant_id": variant, "on_hand": 0, "reason": "gone"}, 200)
    assert not listed("stock")
    assert detail()["inventory_quantity"] == 0
    shop.staff.post(f"{path}/images", {"src": "https://img.example/1.jpg"})
    assert len(detail()["images"]) == 1
    shop.staff("PATCH", path, {"title": "Entirely else"}, 200)
    assert not listed("search")
    shop.staff("PATCH", path, {"status": "archived"}, 200)
    assert not any(listed(name) for name in lists)
    shop.guest("GET", path, expect=404)


def test_a_sale_is_seen(embedded_shop: Running) -> None:
    shop = embedded_shop
    product = shop.product(stock=3)
    assert shop.guest.get(f"/products/{product['id']}")["product"]["inventory_quantity"] == 3
    cart, shopper = shop.cart((product, 2))
    from conftest import completion

    shopper.post("/checkout/complete", completion(cart))
    assert shop.guest.get(f"/products/{product['id']}")["product"]["inventory_quantity"] == 1


def test_many_readers_and_a_writer_agree(embedded_shop: Running) -> None:
    """Two processes with a memory each."""
    shop = embedded_shop
    product = shop.product()
    url = f"{shop.server.url}/api/v1/products/{product['id']}"
    seen: list[str] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(httpx.get(url).json()["product"]["vendor"])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    while not seen:  # what it was before
        time.sleep(0.01)
    for number in range(20):
        shop.staff("PATCH", f"/products/{product['id']}", {"vendor": str(number)}, 200)
        time.sleep(PROPAGATION_S)
        assert {httpx.get(url).json()["product"]["vendor"] for _ in range(4)} == {str(number)}
    over.set()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 21


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("encoding", ["identity", "br", "gzip"])
def test_it_passes_an_http_lint(
    embedded_shop: Running, product: dict[str, Any], path: str, encoding: str
) -> None:
    path = path.format(id=product["id"])
    for headers in (
        {},
        {"If_None_Match": ask(embedded_shop, path, Accept_Encoding=encoding)["etag"]},
    ):
        answer = ask(embedded_shop, path, Accept_Encoding=encoding, **headers)
        request = HttpRequestLinter()
        request.process_request_topline(b"GET", f"http://shop.example{path}".encode(), b"HTTP/1.1")
        request.process_headers([(b"Host", b"shop.example")])
        linter = HttpResponseLinter()
        linter.request = request
        linter.process_response_topline(b"HTTP/1.1", str(answer.status).encode(), b"")
        linter.process_headers(answer.fields)
        linter.feed_content(answer.body)
        linter.finish_content(True)
        said = {
            type(note).__name__: str(note)
            for note in linter.notes
            if note.level in (levels.WARN, levels.BAD)
        }
        assert {name: text for name, text in said.items() if name not in ACCEPTED} == {}
