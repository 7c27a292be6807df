"""Bad input: each has its problem, and nothing is a 5xx."""

import contextlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from conftest import Fleet, Running, completion
from rcommerce.lab.ledger import ADDRESS


def raw(shop: Running, path: str, content: bytes, **headers: str) -> httpx.Response:
    named = {"Content-Type": "application/json", **headers}
    return httpx.post(f"{shop.guest.url}/api/v1{path}", content=content, headers=named, timeout=30)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "body"),
        (b"{bad", None),
        (b"[]", "body"),
        (b"null", "body"),
        (b'"text"', "body"),
        (b'{"email":"a@b.co"}', "password"),
        (b'{"email":"a@b.co","password":"x","more":1}', "more"),
        (b'{"email":1,"password":"x"}', "email"),
        (b'{"email":"a@b.co","password":"x', None),
        (b'{"email":"a\xff@b.co","password":"x"}', None),
        (b'{"email":"\\ud800@b.co","password":"x"}', None),
        (b"[" * 100_000, "body"),
        (b'{"email":"' + b"a" * 300 + b'@b.co","password":"x"}', "email"),
    ],
)
def test_a_body_that_is_not_as_declared_names_the_field(
    shop: Running, content: bytes, field: str | None
) -> None:
    answer = raw(shop, "/auth/login", content)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["error"] == problem["detail"]
    assert problem["code"] == "validation_failed"
    assert [each["field"] for each in problem["errors"]] == ([field] if field else [])


@pytest.mark.parametrize("quantity", [0, -1, 10_000, 10**30, 1.5, "1", None, True])
def test_quantities_that_cannot_be(shop: Running, quantity: Any) -> None:
    cart, shopper = shop.cart()
    line = {"product_id": str(uuid4()), "quantity": quantity}
    problem = shopper("POST", f"/carts/{cart}/items", line, expect=400).json()
    assert problem["errors"][0]["field"] == "quantity"


@pytest.mark.parametrize(
    "price", ["-1", "NaN", "Infinity", "1e400", "1.999", "1e12", 10**40, "x", True]
)
def test_prices_that_cannot_be(shop: Running, price: Any) -> None:
    problem = shop.staff("POST", "/products", {"title": "x", "price": price}, expect=400).json()
    assert "price" in problem["errors"][0]["field"]


def test_a_body_that_is_nested_without_end(shop: Running) -> None:
    nested = b'{"title":"x","price":"1","meta_fields":{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}}"
    key = shop.staff.headers["Authorization"]
    assert raw(shop, "/products", nested, Authorization=key).status_code == 400


def test_nul_is_no_text_anywhere(shop: Running) -> None:
    product = shop.staff("POST", "/products", {"title": "a\x00b", "price": "1"}, expect=400).json()
    assert product["errors"][0]["field"] == "title"
    nested = {"title": "x", "price": "1", "meta_fields": {"a": [{"b": "\x00"}]}}
    problem = shop.staff("POST", "/products", nested, expect=400).json()
    assert problem["errors"][0]["field"] == "meta_fields.a[0].b"
    for path in ("/products/a%00b", "/products?q=%00", "/products/%ff", "/products?q=%ff"):
        assert shop.guest("GET", path).status_code == 400, path
    address = {**ADDRESS, "city": "\x00"}
    cart, shopper = shop.cart((shop.product(), 1))
    shopper("POST", "/checkout/complete", completion(cart, shipping_address=address), expect=400)


def test_unknown_and_impossible_parameters_are_named(shop: Running) -> None:
    for query, field in [
        ("min_prize=1", "min_prize"),
        ("min_price=NaN", "min_price"),
        ("per_page=101", "per_page"),
        ("per_page=x", "per_page"),
        ("page=0", "page"),
        ("page=10000", "page"),
        ("ids=nope", "ids"),
        ("sort=colour", "sort"),
        ("sort=relevance", "sort"),
        ("cursor=%21%21", "cursor"),
        ("cursor=W10", "cursor"),
        ("collection_id=x", "collection_id"),
        ("q=" + "x" * 300, "q"),
    ]:
        problem = shop.guest("GET", f"/products?{query}", expect=400).json()
        assert [each["field"] for each in problem["errors"]] == [field], query


def test_what_is_not_known_is_told_with_what_is(shop: Running) -> None:
    product = shop.product()
    cart, shopper = shop.cart((product, 1))
    address = {**ADDRESS, "postcode": "1"}
    variant = {"price": "1", "colour": "red"}
    for caller, method, path, body, field, message in (
        (
            shopper, "POST", f"/carts/{cart}/items",
            {"product_id": product["id"], "quantiy": 1},
            "quantiy", 'unknown field (did you mean "quantity"?); known fields: quantity, ',
        ),
        (
            shop.guest, "POST", "/auth/login", {"email": "a@b.cd", "password": "x", "zzz": 1},
            "zzz", "unknown field; known fields: email, password",
        ),
        (
            shopper, "POST", "/checkout/complete", completion(cart, shipping_address=address),
            "shipping_address.postcode", "unknown field; known fields: ",
        ),
        (
            shop.staff, "POST", "/products",
            {"title": "X", "variants": [{"price": "1"}, variant]},
            "variants[1].colour", "unknown field; known fields: ",
        ),
        (
            shop.guest, "GET", "/products?min_prize=1", None,
            "min_prize", 'unknown parameter (did you mean "min_price"?); known parameters: min_pr',
        ),
    ):  # fmt: skip
        problem = caller(method, path, body, expect=400).json()
        [error] = problem["errors"]
        assert error["field"] == field
        assert error["message"].startswith(message)
        assert problem["detail"] == f"{field}: {error['message']}"


def test_many_that_are_not_known_are_not_all_compared(shop: Running) -> None:
    names = [f"min_prize{number}" for number in range(500)]
    problem = shop.guest("GET", "/products?" + "&".join(names), expect=400).json()
    assert [each["field"] for each in problem["errors"]] == names[:5]


def test_a_cursor_of_other_values_is_no_fault_of_ours(shop: Running) -> None:
    import base64

    for values in (b'["x","y"]', b'["2024-01-01","nope"]', b'["\\u0000","a"]', b"[1,2]"):
        cursor = base64.urlsafe_b64encode(values).decode().rstrip("=")
        assert shop.guest("GET", f"/products?cursor={cursor}").status_code == 400


def test_a_huge_body_is_refused(shop: Running) -> None:
    content = b'{"title":"' + b"x" * (11 * 1024 * 1024) + b'"}'
    for headers in ({}, {"Idempotency-Key": str(uuid4())}):
        key = shop.staff.headers["Authorization"]
        answer = raw(shop, "/products", content, Authorization=key, **headers)
        assert (answer.status_code, answer.json()["status"]) == (413, 413)


def test_another_media_type_is_refused(shop: Running) -> None:
    answer = raw(
        shop, "/auth/login", b"email=x", **{"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code in (400, 415)


def test_unknown_paths_methods_and_ids(shop: Running) -> None:
    assert shop.guest("GET", "/nowhere").json()["code"] == "not_found"
    assert shop.guest("DELETE", "/products", expect=405).headers["Allow"]
    shop.guest("GET", f"/products/{uuid4()}", expect=404)
    shop.staff("PATCH", "/products/not-a-uuid", {"title": "x"}, expect=404)
    shop.guest("GET", "/orders/not-a-uuid", expect=404)
    shop.guest.by(X_Tenant_ID="x")("GET", "/products", expect=400)
    shop.guest.by(X_Tenant_ID=str(uuid4()))("GET", "/products", expect=404)


def test_every_answer_names_its_request(shop: Running) -> None:
    assert shop.guest("GET", "/products").headers["X-Request-ID"]
    asked = shop.guest("GET", "/nowhere", X_Request_ID="my-request-1")
    assert asked.headers["X-Request-ID"] == "my-request-1"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(q=st.text(min_size=1, max_size=40))
def test_any_text_can_be_searched_for(shop: Running, q: str) -> None:
    answer = httpx.get(f"{shop.guest.url}/api/v1/products", params={"q": q}, timeout=30)
    assert answer.status_code in (200, 400), (q, answer.text)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=60))
def test_any_title_that_is_taken_reads_back_as_it_was(shop: Running, text: str) -> None:
    body = {"title": text, "price": "1.00", "slug": uuid4().hex}
    answer = shop.staff("POST", "/products", body)
    assert answer.status_code in (201, 400), answer.text
    if answer.status_code == 201:
        found = shop.staff.get(f"/products/{answer.json()['product']['id']}")
        assert found["product"]["title"] == text


CHECKS = [response_schema_conformance, content_type_conformance]


def operations(shop: Running) -> Iterator[Any]:
    url = f"{shop.guest.url}/api/v1/openapi.json"
    for found in schemathesis.openapi.from_url(url).get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()


def test_no_pattern_lets_a_last_line_break_through(shop: Running) -> None:
    """In Python `$` is also before it: the database would refuse what the document allows."""

    def patterns(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("pattern"), str):
                yield node["pattern"]
            for each in node.values():
                yield from patterns(each)
        elif isinstance(node, list):
            for each in node:
                yield from patterns(each)

    found = set(patterns(shop.guest.get("/openapi.json")))
    assert len(found) > 3
    assert [each for each in found if each.endswith("$")] == []
    for path, body, name in (
        ("/collections", {"title": "Line", "slug": "broken\n"}, "slug"),
        ("/auth/login", {"email": "ada@example.com\n", "password": "x" * 12}, "email"),
    ):
        problem = shop.staff("POST", path, body, expect=400).json()
        assert [each["field"] for each in problem["errors"]] == [name]


@pytest.mark.timeout(600)
def test_nothing_that_the_document_allows_or_forbids_is_a_fault_of_ours(fleet: Fleet) -> None:
    """As staff, so that the requests get past the door; and every answer is as documented."""
    shop = fleet.shop
    count = 0
    for operation in operations(shop):
        for mode in schemathesis.GenerationMode:
            _explore(shop, operation, mode)
        count += 1
    assert count > 60


def _explore(shop: Running, operation: Any, mode: Any) -> None:
    headers = shop.staff.headers

    @settings(
        max_examples=2,  # of each operation, other ones each time
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def explore(case: Any) -> None:
        answer = case.call(headers=headers, timeout=30)
        where = (
            f"{operation.label}: {answer.status_code} {answer.text[:500]} {case.as_curl_command()}"
        )
        assert answer.status_code < 500, where
        if answer.status_code == 414:
            return  # an address of more than 64 KiB: the HTTP server says so itself
        case.validate_response(answer, checks=CHECKS)

    with contextlib.suppress(
        Unsatisfiable
    ):  # an operation without parameters cannot be called wrongly
        explore()
