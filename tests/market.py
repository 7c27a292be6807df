"""A shop with channels, for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from conftest import Running, other_shop


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


class Market:
    """A shop of its own, in EUR, with a channel in EUR."""

    def __init__(self, shop: Running) -> None:
        self.guest, self.staff = other_shop(shop)
        self.channel = self.make_channel("germany")

    def make_channel(self, slug: str, **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.staff.post(
            "/channels", {"slug": slug, "name": slug.title(), **fields}
        )["channel"]
        return made

    def product(self, price: str = "20.00", **fields: Any) -> dict[str, Any]:
        body = {
            "title": f"Product {uuid4().hex[:8]}", "status": "active", "price": price,
            "inventory_quantity": 100, **fields,
        }  # fmt: skip
        made: dict[str, Any] = self.staff.post("/products", body)["product"]
        return made

    def price_list(self, **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.staff.post("/price-lists", {"name": "A list", **fields})[
            "price_list"
        ]
        return made

    def set_price(self, price_list: dict[str, Any], product: dict[str, Any], **price: Any) -> None:
        body = [{"variant_id": product["variants"][0]["id"], **price}]
        self.staff("PUT", f"/price-lists/{price_list['id']}/prices", body, 200)

    def shown(self, product: dict[str, Any], channel: str | None = "germany") -> Any:
        """(price, compare_at_price) of a product, which its page and every list agree on."""
        query = f"?channel={channel}" if channel else ""
        page = self.guest.get(f"/products/{product['id']}{query}")["product"]
        also = f"?ids={product['id']}" + (f"&channel={channel}" if channel else "")
        [row] = self.guest.get(f"/products{also}")["products"]
        keys = ("price", "compare_at_price", "currency")
        assert [row[key] for key in keys] == [page[key] for key in keys]
        return row["price"], row["compare_at_price"]

    def cart(self, product: dict[str, Any], quantity: int = 1, channel: str = "germany") -> Any:
        made = self.guest.by(X_Channel=channel).post("/carts/guest")["cart"]
        shopper = self.guest.by(X_Cart_Token=made["session_token"])
        line = {"product_id": product["id"], "quantity": quantity}
        return shopper.post(f"/carts/{made['id']}/items", line), shopper
