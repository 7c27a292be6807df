"""Uploads: what is taken, and who gets what of it. On a folder, and on a real S3 server."""

import hashlib
import io
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from conftest import Api, Running, eventually, picture

NOBODY = "01a211ac-37d1-7442-a98e-ca3170869d6e"


def send(
    by: Api, content: bytes, expect: int = 201, name: str = "shirt.jpg", **more: Any
) -> dict[str, Any]:
    """An upload by a form."""
    answer = httpx.post(
        f"{by.url}/api/v1/media",
        files={
            "file": (name, content, "text/plain")
        },  # what a client says of it counts for nothing
        headers=by.headers,
        timeout=60,
        **more,
    )
    assert answer.status_code == expect, answer.text
    found: dict[str, Any] = answer.json()
    media: dict[str, Any] = found.get("media", found)
    return media


def fetch(shop: Running, url: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{shop.server.url}{url}", headers=named, timeout=60)


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("AVIF", "image/avif"),
    ],
)
def test_an_image_comes_back_as_it_went_in(shop: Running, kind: str, content_type: str) -> None:
    content = picture(kind)
    made = send(shop.staff, content, name="a name.txt")
    assert (made["content_type"], made["width"], made["height"]) == (content_type, 800, 600)
    assert made["size_bytes"] == len(content)
    assert made["filename"] == "a name.txt"
    answer = fetch(shop, made["url"])
    assert answer.content == content
    assert answer.headers["content-type"] == content_type
    assert "immutable" in answer.headers["cache-control"]
    assert hashlib.sha256(content).hexdigest() in made["url"]


def test_the_same_file_is_kept_once(shop: Running) -> None:
    content = picture()
    first = send(shop.staff, content)
    again = send(shop.staff, content, 200, name="other.jpg")
    assert again["id"] == first["id"]
    shop.staff("DELETE", f"/media/{first['id']}", expect=204)
    assert fetch(shop, first["url"]).status_code == 404
    assert send(shop.staff, content)["url"] == first["url"]
    assert fetch(shop, first["url"]).status_code == 200


def test_a_body_that_is_no_form_is_the_file(shop: Running) -> None:
    content = picture("PNG")
    answer = httpx.post(
        f"{shop.server.url}/api/v1/media", content=content, headers=shop.staff.headers
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["media"]["content_type"] == "image/png"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- --><svg onload='alert(1)'/>", "SVG"),
        (b"<html><script>alert(1)</script></html>", "of no type that is known"),
        (b"MZ" + bytes(500), "x-msdownload"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "taken are"),
        (b"PK\x03\x04" + bytes(100), "zip"),
    ],
)
def test_what_is_no_image_is_refused_by_its_content(
    shop: Running, content: bytes, word: str
) -> None:
    problem = send(shop.staff, content, 422, name="picture.png")
    assert problem["code"] == "unsupported_media"
    assert problem["errors"][0]["field"] == "file"
    assert word in problem["detail"]


def test_a_decompression_bomb_is_refused_by_its_header(shop: Running) -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")  # 50 KB that would be 400 megapixels
    assert len(file.getvalue()) < 100_000
    problem = send(shop.staff, file.getvalue(), 422)
    assert problem["code"] == "image_too_large"
    assert "64 megapixels" in problem["detail"]


def test_a_file_that_is_too_large_is_refused_while_it_comes(shop: Running) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        yield picture()
        for _ in range(200):
            sent += 1
            yield bytes(1024 * 1024)

    try:
        answer = httpx.post(
            f"{shop.server.url}/api/v1/media",
            content=endless(),
            headers=shop.staff.headers,
            timeout=60,
        )
        assert answer.status_code == 413
        assert "50 MiB" in answer.json()["detail"]
    except (httpx.WriteError, httpx.ReadError):
        pass  # the server has hung up
    assert sent < 200
    assert shop.staff.get("/media?per_page=1")["media"] is not None


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"picture": ("a.png", b"x")}, "file"),
        ([("file", ("a.png", picture())), ("file", ("b.png", picture()))], "once"),
        ({"file": ("a.png", b"")}, "empty"),
    ],
)
def test_a_form_without_one_file_is_refused(shop: Running, files: Any, word: str) -> None:
    answer = httpx.post(f"{shop.server.url}/api/v1/media", files=files, headers=shop.staff.headers)
    assert answer.status_code == 400
    assert word in answer.json()["detail"]


def test_a_broken_form_is_refused(shop: Running) -> None:
    for kind, body in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=y", b"no boundary in it"),
        ("multipart/form-data; boundary=y", b'--y\r\nContent-Disposition: form-data; name="file"'),
    ):
        headers = {**shop.staff.headers, "Content-Type": kind}
        answer = httpx.post(f"{shop.server.url}/api/v1/media", content=body, headers=headers)
        assert answer.status_code == 400, answer.text


def test_media_is_the_staffs(shop: Running) -> None:
    assert send(shop.guest, picture(), 401)["code"] == "unauthenticated"
    shop.guest("GET", "/media", expect=401)


def test_a_file_is_given_out_in_ranges(shop: Running) -> None:
    content = picture("PNG", (1500, 1500)) + bytes(2_500_000)  # over several pieces of the store
    made = send(shop.staff, content)
    url, tag = made["url"], fetch(shop, made["url"]).headers["etag"]
    size = len(content)
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=1000-1999999", 1000, 2_000_000),
        ("bytes=-10", size - 10, size),
        (f"bytes={size - 5}-", size - 5, size),
    ):
        part = fetch(shop, url, Range=asked)
        assert part.status_code == 206
        assert part.content == content[start:end]
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    assert fetch(shop, url, Range=f"bytes={size}-").status_code == 416
    assert fetch(shop, url, Range="bytes=0-5", If_Range='"other"').content == content
    assert fetch(shop, url, If_None_Match=tag).status_code == 304
    head = httpx.head(f"{shop.server.url}{url}")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")


@pytest.mark.parametrize(
    "path",
    [
        "/media/nothing",
        "/media/../../etc/passwd",
        "/media/%2e%2e/%2e%2e/etc/passwd",
        f"/media/{NOBODY}/incoming/{NOBODY}",
        f"/media/{NOBODY}/{'0' * 64}/original.jpg",
        f"/media/{NOBODY}/{'0' * 64}/original.html",
    ],
)
def test_nothing_else_is_given_out(shop: Running, path: str) -> None:
    assert fetch(shop, path).status_code == 404


def test_a_file_is_sent_directly(shop: Running) -> None:
    content = picture()
    begun = shop.staff.post("/media/uploads", {"filename": "direct.jpg"})["upload"]
    url = begun["url"]
    url = url if url.startswith("http") else shop.server.url + url
    shop.staff.post(f"/media/uploads/{begun['id']}/complete", expect=404)
    assert httpx.put(url.replace("ignature=", "ignature=0"), content=content).status_code == 403
    assert httpx.put(url, content=content, headers=begun["headers"]).status_code == 200
    done = shop.staff.post(f"/media/uploads/{begun['id']}/complete", {"filename": "direct.jpg"})
    assert done["media"]["filename"] == "direct.jpg"
    assert fetch(shop, done["media"]["url"]).content == content
    again = shop.staff.post(f"/media/uploads/{begun['id']}/complete", expect=200)
    assert again["media"]["id"] == done["media"]["id"]


def test_what_is_sent_directly_is_looked_at_all_the_same(shop: Running) -> None:
    begun = shop.staff.post("/media/uploads", {})["upload"]
    url = begun["url"] if begun["url"].startswith("http") else shop.server.url + begun["url"]
    assert httpx.put(url, content=b"<svg/>").status_code == 200
    problem = shop.staff.post(f"/media/uploads/{begun['id']}/complete", expect=422)
    assert "SVG" in problem["detail"]
    shop.staff.post(f"/media/uploads/{begun['id']}/complete", expect=404)  # it is gone


def test_an_upload_is_shown_by_products_variants_and_carts(shop: Running) -> None:
    made = send(shop.staff, picture())
    product = shop.product(images=[{"media_id": made["id"], "alt_text": "in front"}])
    other = send(shop.staff, picture())
    added = shop.staff.post(f"/products/{product['id']}/images", {"media_id": other["id"]})
    first, second = added["product"]["images"]
    assert (first["src"], first["width"], first["height"]) == (made["url"], 800, 600)
    assert first["media_id"] == made["id"]
    variant = product["variants"][0]["id"]
    at = f"/products/{product['id']}/variants/{variant}"
    shop.staff("PATCH", at, {"image_id": second["id"]}, 200)
    cart, shopper = shop.cart((product, 1))
    assert shopper.get(f"/carts/{cart}")["items"][0]["image_url"] == other["url"]
    listed = shop.guest.get(f"/products?ids={product['id']}")["products"][0]
    assert [each["src"] for each in listed["images"]] == [made["url"], other["url"]]
    assert shop.staff("DELETE", f"/media/{other['id']}", expect=409).json()["code"] == "in_use"
    stranger = shop.product(images=[{"media_id": made["id"]}])["images"][0]["id"]
    shop.staff("PATCH", at, {"image_id": stranger}, 422)
    shop.staff("DELETE", f"/products/{product['id']}/images/{second['id']}", expect=200)
    assert (
        shop.guest.get(f"/products/{product['id']}")["product"]["variants"][0]["image_id"] is None
    )
    shop.staff("DELETE", f"/media/{other['id']}", expect=204)


def test_an_image_has_an_address_or_an_upload(shop: Running) -> None:
    product = shop.product()
    at = f"/products/{product['id']}/images"
    made = send(shop.staff, picture())
    shop.staff.post(at, {}, 400)
    shop.staff.post(at, {"src": "https://example.com/a.jpg", "media_id": made["id"]}, 400)
    problem = shop.staff.post(at, {"media_id": str(uuid4())}, 422)
    assert problem["errors"][0]["field"] == "media_id"


def processed(shop: Running, media: str) -> dict[str, Any]:
    """An upload once its renditions are there."""
    found: dict[str, Any] = {}

    def check() -> bool:
        found.update(shop.staff.get(f"/media/{media}")["media"])
        return bool(found["is_processed"])

    eventually(check, timeout_s=60)
    return found


def test_an_image_gets_its_renditions(shop: Running) -> None:
    made = send(shop.staff, picture("PNG", (2000, 1000)))
    product = shop.product(images=[{"media_id": made["id"]}])
    found = processed(shop, made["id"])["renditions"]
    sizes = {name: (each["width"], each["height"]) for name, each in found.items()}
    assert sizes == {
        "thumbnail": (150, 150),
        "small": (300, 150),
        "medium": (600, 300),
        "large": (1200, 600),
    }
    for each in found.values():
        for kind in ("webp", "avif"):
            answer = fetch(shop, each[kind])
            assert answer.headers["content-type"] == f"image/{kind}"
            shown = Image.open(io.BytesIO(answer.content))
            assert (shown.format, shown.size) == (kind.upper(), (each["width"], each["height"]))
    # A product that everybody may keep shows them, too: it was made untrue.
    shown_by_it = shop.guest.get(f"/products/{product['id']}")["product"]["images"][0]
    assert shown_by_it["renditions"] == found


def test_a_photograph_is_turned_and_keeps_no_secrets(shop: Running) -> None:
    file = io.BytesIO()
    picture = Image.new("RGB", (400, 200), (200, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # held on its side
    exif[0x010F] = "a camera's maker"
    picture.save(file, "JPEG", exif=exif)
    made = send(shop.staff, file.getvalue() + uuid4().bytes)
    small = processed(shop, made["id"])["renditions"]["small"]
    assert (small["width"], small["height"]) == (150, 300)
    assert b"maker" not in fetch(shop, small["webp"]).content


def test_a_broken_image_has_no_renditions(shop: Running) -> None:
    content = picture("JPEG", (1000, 1000))
    made = send(shop.staff, content[: len(content) // 2])
    assert processed(shop, made["id"])["renditions"] == {}


def test_renditions_go_with_their_upload(shop: Running) -> None:
    made = send(shop.staff, picture())
    thumbnail = processed(shop, made["id"])["renditions"]["thumbnail"]["webp"]
    assert fetch(shop, thumbnail).status_code == 200
    shop.staff("DELETE", f"/media/{made['id']}", expect=204)
    assert fetch(shop, thumbnail).status_code == 404


def test_a_list_of_uploads_is_paged(shop: Running) -> None:
    made = [send(shop.staff, picture())["id"] for _ in range(3)]
    page = shop.staff.get("/media?per_page=2")
    assert [each["id"] for each in page["media"]] == [made[2], made[1]]
    rest = shop.staff.get(f"/media?per_page=2&cursor={page['meta']['next_cursor']}")
    assert rest["media"][0]["id"] == made[0]
