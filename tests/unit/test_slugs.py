"""The readable part of an address."""

import pytest

from rcommerce.commerce.slugs import LONGEST, slug_of


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("John's apples", "johns-apples"),
        ("John’s  apples!", "johns-apples"),
        ("Điện thoại di động", "dien-thoai-di-dong"),
        ("Łódź: Straße & Ærø", "lodz-strasse-aero"),
        ("Cafe\u0301", "cafe"),  # an accent of its own
        ("日本語のシャツ", "日本語のシャツ"),
        ("Зимняя куртка", "зимняя-куртка"),
        ("100 % Wool_Scarf", "100-wool-scarf"),
    ],
)
def test_a_title_is_told_in_letters_that_an_address_may_have(title: str, slug: str) -> None:
    assert slug_of(title, "product") == slug


def test_no_title_makes_a_slug_that_cannot_be() -> None:
    assert slug_of("!?", "category").startswith("category-")
    uuid = "57d98c95-0762-5a30-a070-3b2dd102a4c3"
    assert slug_of(uuid, "product") == f"product-{uuid}"
    assert len(slug_of("ß" * 300, "product")) == LONGEST
