"""Imports of products, as a user runs them."""

import csv
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Running, other_shop

DATA = Path(__file__).parent.parent / "data"


def test_a_real_export_fills_a_shop_and_reads_back(shop: Running) -> None:
    done = shop.server.command("import", "products", str(DATA / "shopify-apparel.csv"), "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    with (DATA / "shopify-apparel.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert report["products"]["created"] == len({row["Handle"] for row in rows})
    for handle in {row["Handle"] for row in rows}:
        product = shop.guest.get(f"/products/{handle}")["product"]
        mine = [row for row in rows if row["Handle"] == handle and row["Variant Price"]]
        assert product["title"] == mine[0]["Title"]
        assert product["description"] == mine[0]["Body (HTML)"].strip()
        assert [float(v["price"]) for v in product["variants"]] == [
            float(row["Variant Price"]) for row in mine
        ]
        assert [v["inventory_quantity"] for v in product["variants"]] == [
            int(row["Variant Inventory Qty"]) for row in mine
        ]
    again = shop.server.command("import", "products", str(DATA / "shopify-apparel.csv"), "--json")
    assert json.loads(again.stdout)["products"] == {
        "created": 0,
        "updated": 0,
        "unchanged": report["products"]["created"],
    }


def test_a_dry_run_changes_nothing_and_a_changed_file_changes_only_that(
    shop: Running, tmp_path: Path
) -> None:
    file = tmp_path / "products.csv"
    header = (
        "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Qty,Variant Price\n"
    )
    rows = [
        f"imported-{number},Imported {number},Size,S,IMP-{number},5,10\n" for number in range(450)
    ]
    file.write_text(header + "".join(rows))
    dry = shop.server.command("import", "products", str(file), "--dry-run", "--json")
    assert json.loads(dry.stdout)["products"]["created"] == 450
    shop.guest.get("/products/imported-3", expect=404)
    shop.server.command("import", "products", str(file))
    product = shop.guest.get("/products/imported-3")["product"]
    variant = product["variants"][0]["id"]
    shop.staff.post("/inventory/adjust", {"variant_id": variant, "quantity": -2}, 200)
    rows[3] = rows[3].replace(",10\n", ",12\n")
    file.write_text(header + "".join(rows) + "bad,Bad,Size,S,,5,free\n" + "x,X,Size,S,IMP-4,1,1\n")
    report = tmp_path / "rejected.csv"
    done = shop.server.command("import", "products", str(file), "--json", "--report", str(report))
    assert done.returncode == 3
    said = json.loads(done.stdout)
    assert (said["products"]["updated"], said["products"]["created"]) == (1, 0)
    assert {fault["line"] for fault in said["rejected"]} == {452, 453}
    assert "IMP-4" in report.read_text()
    after = shop.guest.get("/products/imported-3")["product"]
    assert (after["price"], after["inventory_quantity"]) == ("12.00", 3)


def test_a_file_that_is_no_export_is_refused_in_one_line(shop: Running, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a,b\n1,2\n")
    done = shop.server.command("import", "products", str(file))
    assert done.returncode == 1
    assert "no Shopify product export" in done.stderr
    assert shop.server.command("import", "products", "nowhere.csv").returncode == 1


def imported(shop: Running, tenant: str, file: Path, *options: str) -> dict[str, Any]:
    """The report of an import into a tenant."""
    command = ["import", "products", str(file), "--tenant", tenant, "--json", *options]
    done = shop.server.command(*command)
    assert done.returncode == 0, done.stderr + done.stdout
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_weights_images_codes_and_metafields_arrive_and_stay(shop: Running, tmp_path: Path) -> None:
    guest, staff = other_shop(shop, "EUR")
    tenant = guest.headers["X-Tenant-ID"]
    text = (DATA / "shopify-today.csv").read_text()
    head, _, rest = text.partition("\n")
    file = tmp_path / "today.csv"
    lines = [f"{head},HS Code"]
    for record in csv.reader(rest.splitlines(keepends=True)):
        cells = ['"' + cell.replace('"', '""') + '"' for cell in record]
        lines.append(",".join([*cells, "6211.43" if record[9] == "AP-LIN-L" else ""]))
    file.write_text("\n".join(lines) + "\n")
    report = imported(shop, tenant, file)
    assert report["products"] == {"created": 2, "updated": 0, "unchanged": 0}
    assert report["columns_not_imported"]["Google Shopping / Google product category"] == 1
    product = guest.get("/products/linen-apron")["product"]
    assert (product["weight"], product["weight_unit"]) == ("320.000000", "g")
    assert product["meta_fields"] == {"custom.material": "Linen"}
    small, large = product["variants"]
    assert (small["weight"], large["weight"]) == (None, "360.000000")
    assert (small["hs_code"], large["hs_code"]) == (None, "6211.43")
    images = {image["id"]: image["src"].rpartition("/")[2] for image in product["images"]}
    assert images[small["image_id"]] == "apron-s.jpg"
    assert images[large["image_id"]] == "apron-l.jpg"
    assert staff.get("/products/linen-apron")["product"]["variants"][1]["cost_price"] == "15.10"
    again = imported(shop, tenant, file)
    assert again["products"] == {"created": 0, "updated": 0, "unchanged": 2}
    # Stock is the shop's own from then on, unless it is asked for.
    staff.post("/inventory/adjust", {"variant_id": small["id"], "quantity": -2}, 200)
    levels = f"/inventory/{small['id']}"
    imported(shop, tenant, file)
    assert staff.get(levels)["levels"][0]["on_hand"] == 10
    imported(shop, tenant, file, "--set-stock")
    assert staff.get(levels)["levels"][0]["on_hand"] == 12
    # What the shop has added stays.
    change = {"meta_fields": {**product["meta_fields"], "own": "kept"}}
    staff("PATCH", f"/products/{product['id']}", change, expect=200)
    file.write_text(file.read_text().replace('"Linen"', '"Cotton"'))
    assert imported(shop, tenant, file)["products"]["updated"] == 1
    product = staff.get("/products/linen-apron")["product"]
    assert product["meta_fields"] == {"custom.material": "Cotton", "own": "kept"}


def test_prices_of_a_list_are_imported(shop: Running, tmp_path: Path) -> None:
    guest, staff = other_shop(shop)
    there = ["--tenant", guest.headers["X-Tenant-ID"]]
    skus = [f"P-{number}" for number in range(3)]
    ids = [
        staff.post("/products", {"title": sku, "sku": sku, "price": "50.00", "status": "active"})[
            "product"
        ]["id"]
        for sku in skus
    ]
    channel = staff.post("/channels", {"slug": "trade", "name": "Trade"})["channel"]["id"]
    made = staff.post("/price-lists", {"name": "Wholesale", "channel_ids": [channel]})
    file, report = tmp_path / "prices.csv", tmp_path / "rejected.csv"
    lines = [
        "SKU;Price;Min quantity;Compare at", "P-0;39,90;;45,00", "P-0;35,00;10;", "P-1;40;1;",
        "P-9;1;;", "P-2;x;;", "P-2;-1;;", "P-2;1,234;;", "P-2;5;0;", "P-2;5;;4", "P-1;41;;", ";5;;",
    ]  # fmt: skip
    file.write_text("\n".join(lines), encoding="utf-8")
    command = ["import", "prices", str(file), "--list", "Wholesale", *there]

    def ran(*options: str, expect: int = 3) -> Any:
        done = shop.server.command(*command, "--json", *options)
        assert done.returncode == expect, done.stderr
        return json.loads(done.stdout)

    dry = ran("--dry-run")
    assert dry["prices"] == {"changed": 3, "unchanged": 0}
    its = f"/price-lists/{made['price_list']['id']}/prices"
    assert staff.get(its)["prices"] == []
    done = ran("--report", str(report))
    assert done["prices"] == {"changed": 3, "unchanged": 0}
    assert done["read_as"] == "UTF-8, separated by semicolons"
    assert [(each["line"], each["reason"]) for each in done["rejected"]] == [
        (5, "no variant has this SKU"),
        (6, "price: “x” is no amount, such as 19.99"),
        (7, "amount: must be an amount of at least 0 and below 1000000000000"),
        (8, "price: “1,234” has two readings: write 1299 or 1.30"),
        (9, "min quantity: “0” is no number from 1 to 9999"),
        (10, "compare_at: must be more than amount"),
        (11, "the SKU has a price from 1 units on already"),
        (12, "the SKU is missing"),
    ]
    with report.open(encoding="utf-8") as rejected:
        assert len(list(csv.DictReader(rejected))) == 8
    assert len(staff.get(its)["prices"]) == 3
    page = guest.get(f"/products/{ids[0]}?channel=trade")["product"]
    assert (page["price"], page["compare_at_price"]) == ("39.90", "45.00")
    assert ran()["prices"] == {"changed": 0, "unchanged": 3}
    lines[1] = "P-0;38,00;;45,00"
    file.write_text("\n".join(lines[:3]), encoding="utf-8")
    assert ran(expect=0)["prices"] == {"changed": 1, "unchanged": 1}
    shown = shop.server.command(*command)
    assert "0 prices changed, 2 unchanged; 0 rows rejected." in shown.stdout
    wrong = shop.server.command("import", "prices", str(file), "--list", "Nothing", *there)
    assert wrong.returncode != 0
    assert "there is no price list “Nothing”" in wrong.stderr
    file.write_text("name;price\na;1\n", encoding="utf-8")
    no_table = shop.server.command(*command)
    assert no_table.returncode == 1
    assert "has no column “sku”; it has: name, price" in no_table.stderr


@pytest.mark.parametrize(
    "name",
    [
        "spreadsheet-semicolon-decimal-comma.csv",
        "spreadsheet-utf16-tab.txt",
        "spreadsheet-windows-1252.csv",
        "variant-weights-and-images.csv",
    ],
)
def test_the_files_of_spreadsheets_are_imported(embedded_shop: Running, name: str) -> None:
    guest, _ = other_shop(embedded_shop, "EUR")
    report = imported(embedded_shop, guest.headers["X-Tenant-ID"], DATA / name)
    assert report["products"]["created"] == 1
    assert report["rejected"] == []
    assert report["read_as"].startswith("UTF-") or "1252" in name


def test_many_products_are_imported_while_the_shop_answers(
    embedded_shop: Running, tmp_path: Path
) -> None:
    """More than one batch, two of which are written at a time; a SKU that stands twice is named."""
    guest, _ = other_shop(embedded_shop, "EUR")
    file = tmp_path / "many.csv"
    rows = [f"many-{n},Many {n},M-{n},{n},{n % 90 + 1}.90" for n in range(2600)]
    rows.append("twice,Twice,M-7,1,1.00")
    file.write_text(
        "\n".join(["Handle,Title,Variant SKU,Variant Inventory Qty,Variant Price", *rows])
    )
    answers: Counter[int] = Counter()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers[
                httpx.get(f"{guest.url}/api/v1/products", headers=guest.headers).status_code
            ] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        command = ["import", "products", str(file), "--json"]
        done = embedded_shop.server.command(*command, "--tenant", guest.headers["X-Tenant-ID"])
    finally:
        over.set()
        asking.join()
    report = json.loads(done.stdout)
    assert report["products"]["created"] == 2600
    assert [each["line"] for each in report["rejected"]] == [2602, 2602]
    assert "line 9" in report["rejected"][0]["reason"]
    assert set(answers) == {200}
    where = (guest.headers["X-Tenant-ID"],)
    counted = "select count(*), count(distinct slug) from product where tenant_id = %s"
    assert embedded_shop.query(counted, *where) == [(2600, 2600)]
    product = guest.get("/products/many-2599")["product"]
    assert (product["price"], product["inventory_quantity"]) == ("80.90", 2599)
