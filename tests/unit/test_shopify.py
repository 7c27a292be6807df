"""The reader of Shopify exports: what is wrong with a row never stops the others."""

import io
from pathlib import Path

import pytest

from rcommerce.commerce.imports.numbers import Ambiguous, number
from rcommerce.commerce.imports.shopify import Export, Fault, Parsed

DATA = Path(__file__).parent.parent / "data"
HEADER = (
    "Handle,Title,Vendor,Published,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Qty,"
    "Variant Price,Image Src\n"
)


def parse(text: str | bytes) -> tuple[list[Parsed], list[Fault]]:
    raw = text.encode() if isinstance(text, str) else text
    found = list(Export(io.BytesIO(raw), "USD"))
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
    shirt, hat = products
    assert [str(v.price) for v in shirt.variants] == ["10.00", "12.50"]
    assert [v.option_values for v in shirt.variants] == [{"Size": "S"}, {"Size": "M"}]
    assert len(shirt.product.images) == 3
    assert (hat.product.status, hat.product.options) == ("draft", [])
    assert hat.variants[0].option_values == {}


@pytest.mark.parametrize(
    ("row", "line", "words"),
    [
        ("a,A,,true,Size,S,,1,ten,", 2, "“ten” is not a number"),
        ("a,A,,true,Size,S,,1,-5,", 2, "at least 0"),
        ("a,A,,true,Size,S,,1,1.999,", 2, "2 decimal digits"),
        ("a,A,,true,Size,S,,many,1,", 2, "not a number"),
        ("a,A,,true,Size,S,,1.5,1,", 2, "not a whole number"),
        ('a,A,,true,Size,S,,1,"1,299",', 2, "“1,299” may be 1299 or 1.299"),
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
    assert len(products[0].variants) == 1
    assert "same options as line 2" in faults[0].reason


def test_negative_stock_is_taken_as_none_and_said() -> None:
    products, faults = parse(HEADER + "a,A,,true,Size,S,,-3,1,\n")
    assert products[0].variants[0].inventory_quantity == 0
    assert faults[0].is_note


def test_bytes_that_are_no_text_are_a_fault_of_their_row() -> None:
    products, faults = parse(
        HEADER.encode()
        + b"e,\xc3\xa9,,true,Size,S,,1,1,\na,A\xff,,true,Size,S,,1,1,\nb,B\x00,,true,Size,S,,1,1,\n"
        b"c,C,,true,Size,S,,1,1,\n"
    )
    assert [each.product.slug for each in products] == ["e", "c"]
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


def export(name: str) -> tuple[Export, dict[str, Parsed]]:
    """A file of tests/data: how it was read, and its products by handle; nothing is wrong in it."""
    found = Export(io.BytesIO((DATA / name).read_bytes()), "EUR")
    products = list(found)
    assert [each for each in products if isinstance(each, Fault)] == []
    parsed = [each for each in products if isinstance(each, Parsed)]
    return found, {str(each.product.slug): each for each in parsed}


def test_todays_columns_are_taken_and_the_others_are_counted() -> None:
    found, products = export("shopify-today.csv")
    apron, voucher = products["linen-apron"], products["gift-voucher"]
    assert apron.product.title == "Linen Apron"
    assert apron.product.description == '<p>Washed linen,\nwith "deep" pockets.</p>'
    assert (apron.product.status, voucher.product.status) == ("active", "draft")
    assert apron.product.meta_fields == {"custom.material": "Linen"}
    assert (apron.product.seo_title, apron.product.tags) == ("Linen apron", ["linen", "kitchen"])
    small, large = apron.variants
    assert (str(small.price), str(small.compare_at_price), str(small.cost_price)) == (
        "39.00", "49.00", "14.20",
    )  # fmt: skip
    assert (small.sku, small.barcode, small.inventory_quantity) == ("AP-LIN-S", "4006381333931", 12)
    assert (small.inventory_policy, large.inventory_policy) == ("deny", "continue")
    # The product weighs what its first variant does, in the unit of the file; the second differs.
    assert (str(apron.product.weight), apron.product.weight_unit) == ("320.000000", "g")
    assert (small.weight, str(large.weight)) == (None, "360.000000")
    assert [image.src.rpartition("/")[2] for image in apron.product.images if image.src] == [
        "apron.jpg", "apron-back.jpg", "apron-s.jpg", "apron-l.jpg",
    ]  # fmt: skip
    assert (large.image_src or "").endswith("apron-l.jpg")
    assert found.untaken["Google Shopping / Google product category"] == 1
    assert found.untaken["Product category"] == 1
    assert found.untaken["Charge tax"] == 3
    assert not {"Title", "Price", "Option1 name"} & found.untaken.keys()


def test_old_and_new_names_may_be_mixed() -> None:
    products, faults = parse("Handle,title,Variant  Price,SKU\na,A,1.50,S-1\n")
    assert faults == []
    assert (str(products[0].variants[0].price), products[0].variants[0].sku) == ("1.50", "S-1")


@pytest.mark.parametrize(
    ("name", "layout", "price", "compare_at"),
    [
        ("spreadsheet-semicolon-decimal-comma.csv", "UTF-8, separated by semicolons",
         "12.50", "1299.00"),
        ("spreadsheet-utf16-tab.txt", "UTF-16, separated by tabs", "12.50", "None"),
        ("spreadsheet-windows-1252.csv", "Windows-1252, separated by commas", "12.50", "1299.00"),
    ],
)  # fmt: skip
def test_what_spreadsheets_write_is_understood(
    name: str, layout: str, price: str, compare_at: str
) -> None:
    found, products = export(name)
    [parsed] = products.values()
    [variant] = parsed.variants
    assert str(found.layout) == layout
    assert parsed.product.title.startswith("Grüße aus Köln")
    assert parsed.product.vendor == "Müller"
    assert (str(variant.price), str(variant.compare_at_price)) == (price, compare_at)
    assert str(parsed.product.weight) == "1.500000"


def test_variants_have_weights_and_images_of_their_own() -> None:
    _, products = export("variant-weights-and-images.csv")
    stool = products["stool"]
    assert str(stool.product.weight) == "3.200000"
    assert [str(variant.weight) for variant in stool.variants] == ["None", "4.100000"]
    assert [image.src for image in stool.product.images] == [v.image_src for v in stool.variants]


@pytest.mark.parametrize(
    ("text", "has_decimal_commas", "value"),
    [
        ("12.50", True, "12.50"),
        ("12,50", False, "12.50"),
        ("1,299.00", False, "1299.00"),
        ("1.299,00", True, "1299.00"),
        ("1 299,00", True, "1299.00"),
        ("1'299.00", False, "1299.00"),
        ("1,299,000", False, "1299000"),
        ("1.299.000", True, "1299000"),
        ("0,125", True, "0.125"),
        ("1.299", False, "1.299"),
        ("-3", False, "-3"),
        ("1299,5", True, "1299.5"),
        ("1,299", False, None),
        ("1.299", True, None),
        ("12.500", True, None),
        ("1,29,00", False, ValueError),
        ("1,299.00.0", False, ValueError),
        ("12e3", False, ValueError),
        ("٣", False, ValueError),
        ("", False, ValueError),
    ],
)
def test_a_number_is_taken_where_it_can_only_be_one(
    text: str, has_decimal_commas: bool, value: str | type[ValueError] | None
) -> None:
    if isinstance(value, str):
        assert str(number(text, has_decimal_commas=has_decimal_commas)) == value
        return
    with pytest.raises(value or Ambiguous):
        number(text, has_decimal_commas=has_decimal_commas)


def test_a_file_that_ends_within_a_character_is_refused_with_the_line() -> None:
    whole = "Handle\tTitle\tPrice\na\tA\t1\n".encode("utf-16")
    with pytest.raises(ValueError, match=r"line 2: not valid UTF-16"):
        parse(whole[:-1])


def test_one_byte_at_the_very_end_tells_the_encoding_too() -> None:
    found, _ = parse(b"Handle,Price,Title\na,1,Caf\xe9")
    assert [each.product.title for each in found] == ["Café"]
