"""The reader of Shopify exports: what is wrong with a row never stops the others."""

import io
from pathlib import Path

import pytest

from rcommerce.commerce.imports.shopify import Fault, Parsed, read

HEADER = (
    "Handle,Title,Vendor,Published,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Qty,"
    "Variant Price,Image Src\n"
)


def parse(text: str | bytes) -> tuple[list[Parsed], list[Fault]]:
    raw = text.encode() if isinstance(text, str) else text
    found = list(read(io.BytesIO(raw), "USD"))
    return (
        [each for each in found if isinstance(each, Parsed)],
        [each for each in found if isinstance(each, Fault)],
    )


def test_rows_with_one_handle_are_one_product() -> None:
    products, faults = parse(
        HEADER
        + "shirt,Shirt,Me,true,Size,S,A-S,3,10,https://x.example/1.jpg\n"
        + "shirt,,,,,M,A-M,4,12.5,https://x.example/2.jpg\n"
        + "shirt,,,,,,,,,https://x.example/3.jpg\n"
        + "hat,Hat,Me,false,Title,Default Title,,1,5,\n"
    )
    assert faults == []
    shirt, hat = (each.product for each in products)
    assert [str(v.price) for v in shirt.variants] == ["10.00", "12.50"]
    assert [v.option_values for v in shirt.variants] == [{"Size": "S"}, {"Size": "M"}]
    assert len(shirt.images) == 3
    assert (hat.status, hat.options, hat.variants[0].option_values) == ("draft", [], {})


@pytest.mark.parametrize(
    ("row", "line", "words"),
    [
        ("a,A,,true,Size,S,,1,ten,", 2, "“ten” is not a number"),
        ("a,A,,true,Size,S,,1,-5,", 2, "at least 0"),
        ("a,A,,true,Size,S,,1,1.999,", 2, "2 decimal digits"),
        ("a,A,,true,Size,S,,many,1,", 2, "not a whole number"),
        ("a,,,true,Size,S,,1,1,", 2, "Title: is missing"),
        (",A,,true,Size,S,,1,1,", 2, "Handle: is missing"),
        ("a,A,,maybe,Size,S,,1,1,", 2, "neither true nor false"),
        ("a,A,,true,Size,,,1,1,", 2, "has no value"),
        ("a,A,,true,Size,S,,1,1", 2, "has 9 columns"),
        ("a b,A,,true,Size,S,,1,1,", 2, "slug"),
        ("a," + "x" * 300 + ",,true,Size,S,,1,1,", 2, "length <= 255"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_the_next_is_taken(
    row: str, line: int, words: str
) -> None:
    products, faults = parse(HEADER + row + "\nb,B,,true,Size,S,,1,1,\n")
    assert [each.product.slug for each in products] == ["b"]
    assert faults[0].line == line
    assert words in faults[0].reason


def test_lines_are_counted_across_cells_with_line_ends() -> None:
    products, faults = parse(
        HEADER + 'a,"A\nwith\nlines",,true,Size,S,,1,1,\nb,B,,true,S,M,,1,x,\n'
    )
    assert products[0].product.title == "A\nwith\nlines"
    assert faults[0].line == 5


def test_a_repeated_option_names_the_line_it_repeats() -> None:
    products, faults = parse(HEADER + "a,A,,true,Size,S,,1,1,\na,,,,,S,,1,2,\n")
    assert len(products[0].product.variants) == 1
    assert "same options as line 2" in faults[0].reason


def test_negative_stock_is_taken_as_none_and_said() -> None:
    products, faults = parse(HEADER + "a,A,,true,Size,S,,-3,1,\n")
    assert products[0].product.variants[0].inventory_quantity == 0
    assert faults[0].is_note


def test_bytes_that_are_no_text_are_a_fault_of_their_row() -> None:
    products, faults = parse(
        HEADER.encode() + b"a,A\xff,,true,Size,S,,1,1,\nb,B\x00,,true,Size,S,,1,1,\n"
        b"c,C,,true,Size,S,,1,1,\n"
    )
    assert [each.product.slug for each in products] == ["c"]
    assert ["UTF-8" in faults[0].reason, "NUL" in faults[1].reason] == [True, True]


@pytest.mark.parametrize("text", ["", "just,some,columns\n1,2,3\n"])
def test_another_file_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(ValueError, match=r"empty|no Shopify product export"):
        parse(text)


@pytest.mark.parametrize("name", ["shopify-apparel.csv", "shopify-home-and-garden.csv"])
def test_real_exports_are_read_whole(name: str) -> None:
    file = Path(__file__).parent.parent / "data" / name
    products, faults = parse(file.read_bytes())
    assert len(products) > 10
    assert [each for each in faults if not each.is_note] == []
