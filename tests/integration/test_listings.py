"""What lists of products in a channel are sorted by and counted from."""

import time
from decimal import Decimal
from typing import Any

from conftest import Running
from market import Market, soon


def test_listings_are_what_the_prices_say(embedded_shop: Running) -> None:
    """What lists are sorted by is kept beside the prices; here it is computed once more."""
    shop, market = embedded_shop, Market(embedded_shop)
    products = [market.product(f"{number}.00") for number in range(1, 6)]
    market.make_channel("usa", currency="USD")
    market.staff("PUT", "/exchange-rates", [{"from": "EUR", "to": "USD", "rate": "1.1"}], 200)
    for number in range(4):
        market.price_list(
            priority=number % 2,
            starts_at=soon(-100 + 60 * number),
            ends_at=soon(200 - 30 * number),
            currency=("EUR", "USD")[number % 2],
            adjustment={"type": "percentage", "value": str(-10 * number)},
        )
    market.staff("PATCH", f"/products/{products[0]['id']}", {"price": "3.00"}, 200)
    market.staff("DELETE", f"/products/{products[1]['id']}", expect=204)
    market.staff("PATCH", f"/products/{products[2]['id']}", {"status": "archived"}, 200)
    tenant = market.guest.headers["X-Tenant-ID"]
    read = (
        "select channel_id, product_id, starts_at::text, ends_at::text, price, compare_at_price,"
        " status, is_to_come from channel_listing where tenant_id = %s"
        " order by 1, 2, channel_listing.starts_at"
    )
    kept = shop.query(read, tenant)
    assert len(kept) > 2 * 4
    shop.query("select list_products(%s, null, null)", tenant)
    assert shop.query(read, tenant) == kept
    assert {str(row[1]) for row in kept if row[6] == "archived"} == {products[2]["id"]}
    assert {row[7] for row in kept} == {False, True}
    assert all(row[4] > Decimal(0) for row in kept)


def test_a_list_is_the_same_before_and_after_its_rows_are_renewed(shop: Running) -> None:
    market = Market(shop)
    products = [market.product(f"{number}.00") for number in range(1, 8)]
    tenant = market.guest.headers["X-Tenant-ID"]

    def rows(condition: str, expected: int) -> bool:
        """Whether the shop has so many; one of a fleet may be on any shard."""
        sql = "select count(*) from channel_listing where tenant_id = %s and "
        return shop.dsn != shop.control_dsn or shop.query(sql + condition, tenant) == [(expected,)]

    def shown(query: str) -> Any:
        page = market.guest.get(f"/products?channel=germany&sort=price&per_page=5{query}")
        assert page["meta"]["total"] == len(products)
        return [row["price"] for row in page["products"]]

    def renew() -> None:
        done = shop.server.command("jobs", "run", "channels.listings")
        assert done.returncode == 0, done.stderr

    plain, reduced = ["1.00", "2.00", "3.00", "4.00", "5.00"], ["0.50", "1.00", "2.00", "3.00"]
    starts = time.time() + 4
    sale = market.price_list(starts_at=soon(4), ends_at=soon(60))
    market.set_price(sale, products[5], amount="0.50")
    before = shown("")
    assert before == plain or time.time() > starts  # on a machine that took so long
    time.sleep(max(0.0, starts + 0.2 - time.time()))
    assert shown("")[:4] == reduced
    assert shown("&page=2") == ["5.00", "7.00"]
    renew()
    assert shown("")[:4] == reduced
    assert rows("is_to_come", 1)  # what it costs after the sale
    market.staff("PATCH", f"/price-lists/{sale['id']}", {"ends_at": soon(1)}, 200)
    time.sleep(1.2)
    assert shown("") == plain
    renew()
    assert shown("") == plain
    assert rows("is_to_come", 0)
    market.staff("PATCH", f"/products/{products.pop()['id']}", {"status": "archived"}, 200)
    assert shown("&page=2") == ["6.00"]
    assert rows("true", 7)  # staff see them still
