"""The catalogue over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest

from conftest import Running, api_key


def listed(shop: Running, query: str) -> list[str]:
    return [str(each["title"]) for each in shop.guest.get(f"/products?{query}")["products"]]


def test_a_product_reads_back_as_it_was_made(shop: Running) -> None:
    made = shop.staff.post(
        "/products",
        {
            "title": "Linen Shirt",
            "slug": f"linen-{uuid4().hex[:8]}",
            "status": "active",
            "tags": ["men", "linen"],
            "options": [{"name": "Size", "values": ["S", "M"]}],
            "variants": [
                {"price": "30.00", "sku": f"LS-{uuid4().hex}", "option_values": {"Size": "S"}},
                {"price": "25.5", "option_values": {"Size": "M"}, "inventory_quantity": 4},
            ],
            "images": [{"src": "https://example.com/a.jpg", "alt_text": "front"}],
            "meta_fields": {"fabric": {"origin": "Porto"}},
        },
    )["product"]
    by_slug = shop.guest.get(f"/products/{made['slug']}")["product"]
    by_id = shop.guest.get(f"/products/{made['id']}")["product"]
    assert by_slug == by_id
    assert (by_id["price"], by_id["inventory_quantity"]) == ("25.50", 4)
    assert [v["title"] for v in by_id["variants"]] == ["S", "M"]
    assert by_id["images"][0]["alt_text"] == "front"
    assert by_id["meta_fields"] == {"fabric": {"origin": "Porto"}}
    assert by_id["published_at"]


def test_drafts_and_cost_prices_are_for_staff_alone(shop: Running) -> None:
    made = shop.product(status="draft", cost_price="3.00")
    shop.guest.get(f"/products/{made['id']}", expect=404)
    assert (
        shop.staff.get(f"/products/{made['id']}")["product"]["variants"][0]["cost_price"] == "3.00"
    )
    assert made["title"] not in listed(shop, "status=draft&per_page=100")
    shop.staff("PATCH", f"/products/{made['id']}", {"status": "active"}, expect=200)
    seen = shop.guest.get(f"/products/{made['id']}")["product"]
    assert "cost_price" not in seen["variants"][0]


def test_a_lost_update_is_refused(shop: Running) -> None:
    made = shop.product()
    path = f"/products/{made['id']}"
    tag = shop.guest("GET", path).headers["ETag"]
    assert shop.guest("GET", path, If_None_Match=tag).status_code == 304
    first = shop.staff("PATCH", path, {"title": "First"}, expect=200, If_Match=tag)
    shop.staff("PATCH", path, {"title": "Second"}, expect=412, If_Match=tag)
    assert shop.guest.get(path)["product"]["title"] == "First"
    shop.staff("PUT", path, {"title": "Third"}, expect=200, If_Match=first.headers["ETag"])


def test_a_sale_is_no_reason_to_refuse_a_new_title(shop: Running) -> None:
    made = shop.product()
    tag = shop.guest("GET", f"/products/{made['id']}").headers["ETag"]
    variant = made["variants"][0]["id"]
    shop.staff.post("/inventory/adjust", {"variant_id": variant, "quantity": -1}, expect=200)
    shop.staff("PATCH", f"/products/{made['id']}", {"title": "New"}, expect=200, If_Match=tag)


def test_variants_and_images_change_with_their_product(shop: Running) -> None:
    made = shop.product(price="20.00")
    path = f"/products/{made['id']}"
    size = {"price": "12.00", "option_values": {"Size": "XS"}}
    product = shop.staff.post(f"{path}/variants", size)["product"]
    assert (product["price"], len(product["variants"])) == ("12.00", 2)
    cheap = product["variants"][1]["id"]
    changed = shop.staff("PATCH", f"{path}/variants/{cheap}", {"price": "40.00"}, expect=200).json()
    assert changed["product"]["price"] == "20.00"
    left = shop.staff("DELETE", f"{path}/variants/{cheap}", expect=200).json()["product"]
    assert len(left["variants"]) == 1
    shop.staff("DELETE", f"{path}/variants/{left['variants'][0]['id']}", expect=409)
    imaged = shop.staff.post(f"{path}/images", {"src": "https://example.com/b.jpg"})["product"]
    image = imaged["images"][0]["id"]
    shop.staff("PATCH", f"{path}/images/{image}", {"alt_text": "back"}, expect=200)
    assert (
        shop.staff("DELETE", f"{path}/images/{image}", expect=200).json()["product"]["images"] == []
    )
    shop.staff("DELETE", path, expect=204)
    shop.staff.get(path, expect=404)


def test_slugs_and_skus_are_unique_in_a_shop(shop: Running) -> None:
    made = shop.product(sku=f"SKU-{uuid4().hex}")
    again = shop.staff("POST", "/products", {"title": "X", "slug": made["slug"], "price": "1"})
    assert again.status_code == 409
    assert again.json()["errors"][0]["field"] == "slug"
    sku = made["variants"][0]["sku"]
    other = shop.staff("POST", "/products", {"title": uuid4().hex, "sku": sku, "price": "1"})
    assert (other.status_code, other.json()["errors"][0]["field"]) == (409, "sku")


def test_two_of_one_title_are_numbered(shop: Running) -> None:
    title = f"Élan {uuid4().hex[:8]}"
    slug = title.lower().replace("é", "e").replace(" ", "-")
    body = {"title": title, "price": "1"}
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: shop.staff.post("/products", body)["product"], range(6)))
    assert {each["slug"] for each in made} == {slug, *(f"{slug}-{n}" for n in range(2, 7))}
    for path, name, field in (
        ("/collections", "collection", "title"),
        ("/categories", "category", "name"),
    ):
        slugs = [shop.staff.post(path, {field: title})[name]["slug"] for _ in range(2)]
        assert slugs == [slug, f"{slug}-2"]
        asked = shop.staff("POST", path, {field: title, "slug": slug}, expect=409).json()
        assert asked["detail"] == "slug: already in use"


def test_every_filter_and_sort(shop: Running) -> None:
    mark = uuid4().hex[:10]
    vendor = f"Vendor {mark}"
    category = shop.staff.post("/categories", {"name": f"Root {mark}"})["category"]
    leaf = shop.staff.post("/categories", {"name": f"Leaf {mark}", "parent_id": category["id"]})
    cheap = shop.product(
        title=f"Apricot {mark}", vendor=vendor, price="5.00", tags=[mark, "a"], is_featured=True,
        category_id=leaf["category"]["id"], product_type=f"T{mark}",
    )  # fmt: skip
    dear = shop.product(
        title=f"Zucchini {mark}", vendor=vendor, price="50.00", tags=[mark], stock=0
    )
    both = f"vendor={vendor}"
    assert listed(shop, f"{both}&sort=price") == [cheap["title"], dear["title"]]
    assert listed(shop, f"{both}&sort=title&order=desc") == [dear["title"], cheap["title"]]
    assert listed(shop, f"{both}&min_price=10") == [dear["title"]]
    assert listed(shop, f"{both}&max_price=10") == [cheap["title"]]
    assert listed(shop, f"tags={mark},a") == [cheap["title"]]
    assert listed(shop, f"ids={dear['id']}") == [dear["title"]]
    assert listed(shop, f"product_type=T{mark}") == [cheap["title"]]
    assert listed(shop, f"category={category['slug']}") == [cheap["title"]]
    assert listed(shop, f"category={category['id']}") == [cheap["title"]]
    assert listed(shop, f"{both}&inventory_status=in_stock") == [cheap["title"]]
    assert listed(shop, f"{both}&inventory_status=out_of_stock") == [dear["title"]]
    assert listed(shop, f"{both}&is_featured=true") == [cheap["title"]]
    assert listed(shop, f"{both}&is_featured=false") == [dear["title"]]
    collection = shop.staff.post("/collections", {"title": mark, "product_ids": [dear["id"]]})
    assert listed(shop, f"collection_id={collection['collection']['id']}") == [dear["title"]]
    detail = shop.guest.get(f"/products/{cheap['id']}")["product"]
    assert [c["name"] for c in detail["categories"]] == [f"Root {mark}", f"Leaf {mark}"]


@pytest.mark.parametrize(
    "code", ["8A6B59A7-91D", "00123-45", "1e5-77", "A/B.12", "10x20cm", "ÄÖ-9", "4006381333931"]
)
def test_search_finds_a_code_then_its_beginning_then_words(shop: Running, code: str) -> None:
    title = uuid4().hex
    by_sku = shop.product(title=f"Sku {title}", sku=code)
    by_barcode = shop.product(title=f"Barcode {title}", barcode=code)
    longer = shop.product(title=f"Longer {title}", sku=f"{code}-{title}")
    worded = shop.product(title=f"Worded {code}")
    for given in (code, code.lower(), f" {code.upper()} "):
        found = [
            each["id"]
            for each in shop.guest.get(f"/products?{urlencode({'q': given})}")["products"]
        ]
        assert set(found[:2]) == {by_sku["id"], by_barcode["id"]}
        assert found[2] == longer["id"]
        assert worded["id"] in found[3:]
    sorted_by_title = listed(shop, urlencode({"q": code, "sort": "title", "order": "asc"}))
    assert {each["title"] for each in (by_sku, by_barcode, longer, worded)} <= set(sorted_by_title)
    # Of a beginning alone.
    beginning = f"{code}-{title[:5]}"
    assert listed(shop, urlencode({"q": beginning}))[0] == longer["title"]
    # A page after the other has each once.
    first = shop.guest.get(f"/products?{urlencode({'q': code, 'per_page': 2})}")
    cursor = first["meta"]["next_cursor"]
    rest = shop.guest.get(f"/products?{urlencode({'q': code, 'per_page': 2, 'cursor': cursor})}")
    assert rest["products"][0]["id"] == longer["id"]


def test_search_finds_words_and_forgives_typos(shop: Running) -> None:
    made = shop.product(title=f"Porcelain Teapot {uuid4().hex[:6]}")
    for words in ("porcelain teapot", "Teapot", "porcelian tepot", "porcelin"):
        assert made["title"] in listed(shop, f"q={words}&per_page=100"), words
    assert listed(shop, "q=qqqqzzzzxxxx") == []
    # A changed product's words are known, too; one that is like nothing is left out.
    word = "".join(chr(97 + int(digit, 16)) for digit in uuid4().hex[:12])
    shop.staff("PATCH", f"/products/{made['id']}", {"title": f"Jug O'{word}"}, 200)
    swapped = word[:5] + word[6] + word[5] + word[7:]
    for words in (word, swapped, f"{word[:-1]} qqqqzzzzxxxx", f"O'{swapped}", "\\", "'", "!!!"):
        found = listed(shop, f"q={quote(words)}&per_page=100")
        assert (f"Jug O'{word}" in found) == (word[:3] in words), (words, found)


@pytest.mark.parametrize("sort", ["created_at", "price", "title", "updated_at", "relevance"])
def test_a_cursor_reaches_every_product_once(shop: Running, sort: str) -> None:
    word = f"cursor{uuid4().hex[:8]}"
    wanted = {
        shop.product(title=f"{word} {number}", price=f"{number % 3}.00")["id"]
        for number in range(7)
    }
    seen: list[str] = []
    query = f"/products?q={word}&sort={sort}&per_page=3"
    page: dict[str, Any] = shop.guest.get(query)
    assert (page["meta"]["total"], page["meta"]["total_pages"]) == (7, 3)
    while True:
        seen += [each["id"] for each in page["products"]]
        if (cursor := page["meta"]["next_cursor"]) is None:
            break
        page = shop.guest.get(f"{query}&cursor={cursor}")
    assert len(seen) == 7
    assert set(seen) == wanted
    numbered = [p["id"] for n in (1, 2, 3) for p in shop.guest.get(f"{query}&page={n}")["products"]]
    assert numbered == seen


def test_enumerated_words_are_understood_in_pascal_case(shop: Running) -> None:
    variant = {"price": 10.1, "inventory_policy": "Continue", "option_values": {"Size": "S"}}
    other = {"price": "10.10", "inventory_policy": "Deny", "option_values": {"Size": "M"}}
    title = f"Pascal {uuid4().hex[:8]}"
    body = {"title": title, "status": "Active", "weight_unit": "kg", "variants": [variant, other]}
    made = shop.staff.post("/products", body)["product"]
    assert made["status"] == "active"
    assert [v["inventory_policy"] for v in made["variants"]] == ["continue", "deny"]
    assert [v["price"] for v in made["variants"]] == ["10.10", "10.10"]
    found = shop.staff.get(f"/products?status=Active&inventory_status=InStock&ids={made['id']}")
    assert found["meta"]["total"] == 1
    wrong = shop.staff("POST", "/products", {**body, "status": "Nope"}, expect=400).json()
    assert wrong["errors"][0]["field"] == "status"


def test_collections_and_categories_change(shop: Running) -> None:
    for path, name, field in (
        ("/collections", "collection", "title"),
        ("/categories", "category", "name"),
    ):
        made = shop.staff.post(path, {field: "Before", "slug": uuid4().hex})[name]
        shop.staff("PATCH", f"{path}/{made['id']}", {field: "After"}, 200)
        for key in (made["id"], made["slug"]):
            assert shop.guest.get(f"{path}/{key}")[name][field] == "After"


def test_a_category_is_never_below_itself(shop: Running) -> None:
    mark = uuid4().hex[:8]
    root = shop.staff.post("/categories", {"name": f"r{mark}"})["category"]
    leaf = shop.staff.post("/categories", {"name": f"l{mark}", "parent_id": root["id"]})["category"]
    loop = shop.staff("PATCH", f"/categories/{root['id']}", {"parent_id": leaf["id"]}, expect=400)
    assert loop.json()["errors"][0]["field"] == "parent_id"
    shop.staff("DELETE", f"/categories/{root['id']}", expect=409)
    tree = shop.guest.get("/categories")["categories"]
    node = next(each for each in tree if each["id"] == root["id"])
    assert [child["id"] for child in node["children"]] == [leaf["id"]]
    shop.staff("DELETE", f"/categories/{leaf['id']}", expect=204)
    shop.staff("DELETE", f"/categories/{root['id']}", expect=204)


def test_writers_need_a_scope(shop: Running) -> None:
    body = {"title": "x", "price": "1"}
    assert shop.guest("POST", "/products", body).status_code == 401
    key = api_key(shop.server, "--scope", "products:read")
    reader = shop.guest.by(Authorization=f"Bearer {key}")
    refused = reader("POST", "/products", body, expect=403)
    assert refused.json()["code"] == "missing_scope"
