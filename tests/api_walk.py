"""Every operation of the API once, in the order of a shop's life: what the document's examples are
taken from."""

import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from conftest import Api, Running, eventually, picture
from documented import document
from rcommerce.commerce.payments.gateways import sign
from rcommerce.lab.ledger import ADDRESS
from rcommerce.lab.receiver import Receiver

EMAIL, PASSWORD = "ada@example.com", "correct horse battery"
# What opens something is shown by its form alone.
SECRET = re.compile(r"(token|secret|password)$")
SHOWN = {"password": PASSWORD, "token_type": "Bearer"}


@dataclass
class Recorder:
    """Calls operations by their id, and keeps what was asked and answered."""

    url: str
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path, item in document()["paths"].items():
            for method, operation in item.items():
                self.paths[operation["operationId"]] = (method.upper(), path)

    def __call__(
        self, operation: str, by: Api, body: Any = None, *, status: int = 200, query: str = "",
        **where: str,
    ) -> Any:  # fmt: skip
        """The answer's JSON; None where it has none."""
        method, path = self.paths[operation]
        for name, value in where.items():
            path = path.replace(f"{{{name}}}", value)
        if path.startswith("/api/v1"):
            answer = by(method, path.removeprefix("/api/v1") + query, body, expect=status)
        else:
            answer = httpx.request(method, self.url + path, headers=by.headers, timeout=30)
            assert answer.status_code == status, answer.text
        kind = answer.headers.get("content-type", "")
        found = answer.json() if "json" in kind else answer.text if "csv" in kind else None
        self.keep(operation, body, status, found)
        return found

    def keep(self, operation: str, body: Any, status: int, answer: Any) -> None:
        """Notes an example."""
        made = {"status": status}
        if body is not None:
            made["request"] = self._shown(body)
        if answer is not None and status < 400:
            made["answer"] = self._shown(answer)
        self.examples.setdefault(operation, made)

    def _shown(self, node: Any, name: str = "") -> Any:
        if isinstance(node, dict):
            return {key: self._shown(value, key) for key, value in node.items()}
        if isinstance(node, list):
            return [self._shown(each, name) for each in node[:3]]
        if isinstance(node, str):
            if SECRET.search(name) and not node.startswith("tok_"):
                return SHOWN.get(name, f"example-{name.replace('_', '-')}-0123456789abcdefghij")
            return re.sub(r"http://127\.0\.0\.1:\d+", "https://shop.example.com", node)
        return node


def walk(shop: Running, guest: Api, staff: Api) -> Recorder:
    """Asks everything of an empty shop, as its buyers, its staff and its programs."""
    call = Recorder(shop.server.url)
    product = _catalogue(call, guest, staff)
    _inventory(call, staff, product)
    customer = _customers(call, guest, staff, shop)
    _promotions(call, guest, staff, product)
    _credit(call, guest, staff, customer, product)
    _prices(call, staff, customer, product)
    _carts(call, guest, customer, product)
    _orders(call, guest, staff, product)
    _payments(call, guest, staff, product)
    _media(call, staff, shop)
    _webhooks(call, staff)
    for operation in ("getHealth", "getLiveness", "getReadiness", "getMetrics"):
        call(operation, guest)
    call("getFleetState", shop.staff)
    return call


def _catalogue(call: Recorder, guest: Api, staff: Api) -> dict[str, Any]:
    new = {
        "title": "Linen Shirt",
        "description": "Woven in Portugal, washed once.",
        "status": "active",
        "product_type": "Shirt",
        "vendor": "Northwind Supply",
        "tags": ["linen", "summer"],
        "options": [{"name": "Size", "values": ["S", "M"]}],
        "variants": [
            {"price": "30.00", "sku": "LINEN-S", "option_values": {"Size": "S"},
             "inventory_quantity": 5},
            {"price": "30.00", "sku": "LINEN-M", "option_values": {"Size": "M"},
             "inventory_quantity": 80},
        ],
        "images": [{"src": "https://example.com/shirt.jpg", "alt_text": "Front"}],
    }  # fmt: skip
    product = call("createProduct", staff, new, status=201)["product"]
    of = {"product_id": product["id"]}
    call("updateProduct", staff, {"tags": ["linen", "summer", "new"]}, **of)
    call("putProduct", staff, {"vendor": "Field Notes Goods"}, **of)
    call("getProduct", guest, product_id="linen-shirt")
    call("listProducts", guest, query="?q=shirt&per_page=1")
    variant = {"price": "32.00", "sku": "LINEN-L", "option_values": {"Size": "L"},
               "inventory_quantity": 3}  # fmt: skip
    made = call("createProductVariant", staff, variant, status=201, **of)["product"]
    third = made["variants"][2]["id"]
    call("updateProductVariant", staff, {"price": "33.00"}, variant_id=third, **of)
    call("putProductVariant", staff, {"barcode": "4006381333931"}, variant_id=third, **of)
    call("deleteProductVariant", staff, variant_id=third, **of)
    image = {"src": "https://example.com/shirt-back.jpg", "alt_text": "Back"}
    made = call("createProductImage", staff, image, status=201, **of)["product"]
    second = made["images"][1]["id"]
    call("updateProductImage", staff, {"alt_text": "From the back"}, image_id=second, **of)
    call("putProductImage", staff, {"position": 1}, image_id=second, **of)
    call("deleteProductImage", staff, image_id=second, **of)
    other = staff.post("/products", {"title": "Discontinued", "price": "1.00"})["product"]
    call("deleteProduct", staff, status=204, product_id=other["id"])
    shirts = call("createCategory", staff, {"name": "Shirts"}, status=201)["category"]
    one = {"category_id": shirts["id"]}
    call("updateCategory", staff, {"description": "Of linen and cotton"}, **one)
    call("putCategory", staff, {"position": 1}, **one)
    call("listCategories", guest)
    call("getCategory", guest, category_id="shirts")
    call("deleteCategory", staff, status=204, **one)
    summer = {"title": "Summer", "product_ids": [product["id"]]}
    made = call("createCollection", staff, summer, status=201)["collection"]
    one = {"collection_id": made["id"]}
    call("updateCollection", staff, {"description": "Light and airy"}, **one)
    call("putCollection", staff, {"position": 1}, **one)
    call("listCollections", guest)
    call("getCollection", guest, collection_id="summer")
    call("deleteCollection", staff, status=204, **one)
    return dict(product)


def _inventory(call: Recorder, staff: Api, product: dict[str, Any]) -> None:
    variant = {"variant_id": product["variants"][1]["id"]}
    [main] = call("listLocations", staff)["locations"]
    other = call("createLocation", staff, {"name": "Hamburg"}, status=201)
    call("setInventory", staff, {**variant, "on_hand": 90, "reason": "stocktaking"})
    call("receiveInventory", staff, {**variant, "quantity": 20, "reason": "delivery 4711"})
    call("adjustInventory", staff, {**variant, "quantity": -1, "reason": "damaged"})
    places = {"from_location_id": main["id"], "to_location_id": other["id"]}
    call("transferInventory", staff, {**variant, **places, "quantity": 5})
    held = call("reserveInventory", staff, {**variant, "quantity": 2}, status=201)
    held = held["reservation_id"]
    call("releaseInventory", staff, {"reservation_id": held}, status=204)
    call("getInventory", staff, **variant)
    call("listInventory", staff, query="?per_page=2")
    call("listInventoryMovements", staff, query=f"?variant_id={variant['variant_id']}&per_page=2")


def _customers(call: Recorder, guest: Api, staff: Api, shop: Running) -> Api:
    new = {"email": EMAIL, "password": PASSWORD, "first_name": "Ada", "last_name": "Lovelace"}
    call("register", guest, new, status=201)
    login = {"email": EMAIL, "password": PASSWORD}
    session = call("login", guest, login)
    call("refreshSession", guest, {"refresh_token": session["refresh_token"]})
    session = guest.post("/auth/login", login, 200)
    call("logout", _as(guest, session), {"refresh_token": session["refresh_token"]})
    call("requestPasswordReset", guest, {"email": EMAIL}, status=202)
    mails = [line for line in shop.server.log.read_text().splitlines() if EMAIL in line]
    token = re.findall(r"token=([\w-]+)", mails[-1])[0]
    call("confirmPasswordReset", guest, {"token": token, "password": PASSWORD})
    customer = _as(guest, guest.post("/auth/login", login, 200))
    account = call("getMyAccount", customer)["customer"]
    call("updateMyAccount", customer, {"phone": "+44 20 7946 0958"})
    address = {"address": ADDRESS, "is_default": True}
    made = call("createMyAddress", customer, address, status=201)["address"]
    call("listMyAddresses", customer)
    call("replaceMyAddress", customer, {"address": ADDRESS}, address_id=made["id"])
    call("deleteMyAddress", customer, status=204, address_id=made["id"])
    call("listCustomers", staff)
    call("getCustomer", staff, customer_id=account["id"])
    first, *_ = call("listSessions", customer)["sessions"]
    call("endSession", customer, status=204, session_id=first["id"])
    customer = _as(guest, guest.post("/auth/login", login, 200))
    call("logoutEverywhere", customer, status=204)
    return _as(guest, guest.post("/auth/login", login, 200))


def _as(guest: Api, session: dict[str, Any]) -> Api:
    return guest.by(Authorization=f"Bearer {session['access_token']}")


def _line(product: dict[str, Any]) -> dict[str, Any]:
    return {
        "product_id": product["id"], "variant_id": product["variants"][1]["id"], "quantity": 1,
    }  # fmt: skip


def _promotions(call: Recorder, guest: Api, staff: Api, product: dict[str, Any]) -> None:
    new = {
        "code": "SUMMER10", "type": "percentage", "value": "10", "minimum_order_amount": "20.00",
        "usage_limit": 1000, "expires_at": "2099-08-31T22:00:00Z",
    }  # fmt: skip
    made = call("createCoupon", staff, new, status=201)["coupon"]
    one = {"coupon_id": made["id"]}
    call("getCoupon", staff, coupon_id="summer10")
    call("updateCoupon", staff, {"usage_limit": 2000}, **one)
    call("putCoupon", staff, {"description": "For the newsletter"}, **one)
    call("listCoupons", staff, query="?per_page=1")
    cart = guest.post("/carts/guest")["cart"]
    shopper = guest.by(X_Cart_Token=cart["session_token"])
    shopper.post(f"/carts/{cart['id']}/items", _line(product))
    call("validateCoupon", shopper, {"coupon_code": "SUMMER10", "cart_id": cart["id"]})
    call("applyCoupon", shopper, {"coupon_code": "SUMMER10"}, cart_id=cart["id"])
    call("getCartTotals", shopper, cart_id=cart["id"])
    call("explainCartPromotions", shopper, cart_id=cart["id"])
    done = {
        "cart_id": cart["id"], "shipping_address": ADDRESS, "customer_email": EMAIL,
        "payment_method": {"type": "card", "gateway_id": "test", "token": "tok_approve"},
    }  # fmt: skip
    shopper.post("/checkout/complete", done)
    call("listCouponUsage", staff, **one)
    call("generateCouponCodes", staff, {"count": 2, "prefix": "FRIEND-"}, status=201, **one)
    call("listCouponCodes", staff, **one)
    call("exportCouponCodes", staff, **one)
    other = {**new, "code": "OLD"}
    old = staff.post("/coupons", other)["coupon"]
    call("deleteCoupon", staff, status=204, coupon_id=old["id"])
    sale = {"title": "Free shipping from 50", "type": "free_shipping",
            "minimum_order_amount": "50.00"}  # fmt: skip
    made = call("createPromotion", staff, sale, status=201)["promotion"]
    one = {"promotion_id": made["id"]}
    call("getPromotion", staff, **one)
    call("updatePromotion", staff, {"minimum_order_amount": "60.00"}, **one)
    call("putPromotion", staff, {"priority": 5}, **one)
    call("listPromotions", staff)
    call("deletePromotion", staff, status=204, **one)


def _credit(call: Recorder, guest: Api, staff: Api, customer: Api, product: dict[str, Any]) -> None:
    new = {"amount": "50.00", "recipient_email": "grace@example.com", "note": "Birthday"}
    made = call("issueGiftCard", staff, new, status=201)["gift_card"]
    one = {"gift_card_id": made["id"]}
    call("getGiftCardBalance", guest, code=made["code"])
    cart = guest.post("/carts/guest")["cart"]
    shopper = guest.by(X_Cart_Token=cart["session_token"])
    shopper.post(f"/carts/{cart['id']}/items", _line(product))
    call("addCartGiftCard", shopper, {"code": made["code"]}, cart_id=cart["id"])
    call("removeCartGiftCard", shopper, cart_id=cart["id"])
    call("getGiftCard", staff, **one)
    call("listGiftCards", staff, query="?per_page=1")
    call("listGiftCardEntries", staff, **one)
    call("getLiability", staff)
    call("updateGiftCard", staff, {"is_active": False}, **one)
    account = customer.get("/customers/me")["customer"]["id"]
    given = {"amount": "10.00", "note": "Late delivery"}
    call("giveCustomerCredit", staff, given, status=201, customer_id=account)
    call("getCustomerCredit", staff, customer_id=account)
    call("listCustomerCreditEntries", staff, customer_id=account)
    call("getMyCredit", customer)
    call("listMyCreditEntries", customer)


def _prices(call: Recorder, staff: Api, customer: Api, product: dict[str, Any]) -> None:
    new = {"slug": "germany", "name": "Germany", "country": "DE", "prices_include_tax": True}
    channel = call("createChannel", staff, new, status=201)["channel"]
    call("getChannel", staff, key="germany")
    call("updateChannel", staff, {"name": "Germany and Austria"}, key="germany")
    call("putChannel", staff, {"country": "DE"}, key="germany")
    call("listChannels", staff)
    one = {"key": "germany", "product_id": product["id"]}
    call("putChannelProduct", staff, {"available_until": "2099-12-31T23:00:00Z"}, **one)
    call("removeChannelProduct", staff, status=204, **one)
    group = call("createCustomerGroup", staff, {"name": "Trade"}, status=201)["customer_group"]
    its = {"group_id": group["id"]}
    account = customer.get("/customers/me")["customer"]["id"]
    call("getCustomerGroup", staff, **its)
    call("updateCustomerGroup", staff, {"description": "Shops that sell our things"}, **its)
    call("putCustomerGroup", staff, {"name": "Trade"}, **its)
    call("listCustomerGroups", staff)
    call("addGroupCustomer", staff, status=204, customer_id=account, **its)
    call("listGroupCustomers", staff, **its)
    call("removeGroupCustomer", staff, status=204, customer_id=account, **its)
    sale = {
        "name": "Summer sale", "channel_ids": [channel["id"]], "priority": 10,
        "starts_at": "2026-07-01T10:00:00Z", "ends_at": "2099-07-15T22:00:00Z",
        "adjustment": {"type": "percentage", "value": "-20"},
    }  # fmt: skip
    made = call("createPriceList", staff, sale, status=201)["price_list"]
    its_list = {"price_list_id": made["id"]}
    call("getPriceList", staff, **its_list)
    call("updatePriceList", staff, {"priority": 20}, **its_list)
    call("putPriceList", staff, {"name": "Summer"}, **its_list)
    call("listPriceLists", staff)
    variant = product["variants"][0]["id"]
    price = {"variant_id": variant, "min_quantity": 3, "amount": "15.00", "compare_at": "24.00"}
    call("putPrices", staff, [price], **its_list)
    call("listPrices", staff, **its_list)
    call("explainPrices", staff, query="?channel=germany&quantity=3", product_id=product["id"])
    call("removePrices", staff, [{"variant_id": variant}], **its_list)
    call("deletePriceList", staff, status=204, **its_list)
    rates = [{"from": "USD", "to": "EUR", "rate": "0.9217", "rounding": "0.99"}]
    call("putExchangeRates", staff, rates)
    call("listExchangeRates", staff)
    call("deleteCustomerGroup", staff, status=204, **its)
    call("deleteChannel", staff, status=204, key="germany")


def _carts(call: Recorder, guest: Api, customer: Api, product: dict[str, Any]) -> None:
    made = call("createGuestCart", guest, {"currency": "USD"}, status=201)["cart"]
    shopper, one = guest.by(X_Cart_Token=made["session_token"]), {"cart_id": made["id"]}
    added = call("addCartItem", shopper, _line(product), status=201, **one)
    item = added["items"][0]["id"]
    call("updateCartItem", shopper, {"quantity": 2}, item_id=item, **one)
    call("getCart", shopper, **one)
    call("removeCoupon", shopper, **one)
    call("removeCartItem", shopper, item_id=item, **one)
    call("clearCart", shopper, **one)
    shopper.post(f"/carts/{made['id']}/items", _line(product))
    call("mergeCarts", customer, {"session_token": made["session_token"]})
    item = call("getMyCart", customer)["items"][0]["id"]
    call("getCurrentCart", customer)
    call("addMyCartItem", customer, _line(product), status=201)
    call("updateMyCartItem", customer, {"quantity": 3}, item_id=item)
    call("removeMyCartItem", customer, item_id=item)
    other = guest.post("/carts/guest")["cart"]
    shopper = guest.by(X_Cart_Token=other["session_token"])
    call("deleteCart", shopper, status=204, cart_id=other["id"])


def _checkout(call: Recorder, guest: Api, product: dict[str, Any]) -> dict[str, Any]:
    made = guest.post("/carts/guest")["cart"]
    shopper, one = guest.by(X_Cart_Token=made["session_token"]), {"cart_id": made["id"]}
    shopper.post(f"/carts/{made['id']}/items", {**_line(product), "quantity": 2})
    call("initiateCheckout", shopper, {**one, "shipping_address": ADDRESS})
    call("chooseShippingMethod", shopper, {**one, "service_code": "express"})
    card = {"type": "card", "gateway_id": "test", "token": "tok_approve"}
    done = {**one, "shipping_address": ADDRESS, "customer_email": EMAIL, "payment_method": card}
    return dict(call("completeCheckout", shopper, done, status=201))


def _orders(call: Recorder, guest: Api, staff: Api, product: dict[str, Any]) -> None:
    done = _checkout(call, guest, product)
    one = {"order_id": done["order"]["id"]}
    buyer = guest.by(X_Order_Token=done["order_token"])
    call("getOrder", buyer, **one)
    call("listOrders", staff, query="?per_page=1")
    call("updateOrder", staff, {"notes": "Gift: no invoice in the parcel"}, **one)
    call("getPayment", buyer, payment_id=done["payment_id"])
    sent = {"tracking_number": "1Z999AA10123456784", "carrier": "UPS", "status": "shipped"}
    call("fulfillOrder", staff, sent, **one)
    item = done["order"]["items"][0]["id"]
    unit = {"refund_line_items": [{"line_item_id": item, "quantity": 1}], "note": "Torn seam"}
    call("calculateRefund", staff, unit, **one)
    call("refundItems", staff, unit, status=201, **one)
    call("refundOrder", staff, {"amount": "5.00", "reason": "Late delivery"}, **one)
    call("refundPayment", staff, {"amount": "1.00"}, payment_id=done["payment_id"])
    staff("PATCH", f"/orders/{one['order_id']}", {"status": "delivered"})
    call("returnOrder", staff, {"reason": "Too small", "restock": True}, **one)
    call("listOrderEvents", buyer, **one)


def _payments(call: Recorder, guest: Api, staff: Api, product: dict[str, Any]) -> None:
    call("listPaymentMethods", guest, {"currency": "USD", "amount": "35.00"})
    new = {"items": [_line(product)], "shipping_address": ADDRESS, "customer_email": EMAIL}
    order = call("createOrder", guest, new, status=201)
    buyer = guest.by(X_Order_Token=order["order_token"])
    paid = {"order_id": order["id"], "amount": order["total"], "currency": "USD"}
    by_card = {**paid, "gateway_id": "test", "payment_method_data": {"token": "tok_delay"}}
    payment = call("createPayment", buyer, by_card, status=201)["payment_id"]
    event = {"id": "evt_1", "payment_id": payment, "outcome": "approved"}
    _event(call, guest, event)
    order = guest.post("/orders", new)
    buyer = guest.by(X_Order_Token=order["order_token"])
    by_hand = {**paid, "order_id": order["id"], "gateway_id": "manual"}
    payment = buyer.post("/payments", by_hand)["payment_id"]
    call("confirmPayment", staff, payment_id=payment)
    order = guest.post("/orders", new)
    buyer = guest.by(X_Order_Token=order["order_token"])
    call("cancelOrder", buyer, {"reason": "Ordered twice"}, order_id=order["id"])


def _event(call: Recorder, guest: Api, event: dict[str, str]) -> None:
    content = str(event).replace("'", '"').encode()
    now = str(int(time.time()))
    signature = sign("test-webhook-secret", now, content)
    headers = {**guest.headers, "X-Test-Timestamp": now, "X-Test-Signature": signature}
    answer = httpx.post(f"{guest.url}/api/v1/webhooks/test", content=content, headers=headers)
    assert answer.status_code == 204, answer.text
    call.keep("receiveGatewayEvent", event, 204, None)


def _media(call: Recorder, staff: Api, shop: Running) -> None:
    answer = httpx.post(
        f"{staff.url}/api/v1/media",
        headers=staff.headers,
        files={"file": ("shirt.jpg", picture(), "image/jpeg")},
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()["media"]
    call.keep("uploadMedia", None, 201, answer.json())
    call("listMedia", staff)
    call("getMedia", staff, media_id=made["id"])
    begun = call("startUpload", staff, {"filename": "back.jpg"}, status=201)["upload"]
    url = begun["url"] if begun["url"].startswith("http") else shop.server.url + begun["url"]
    httpx.put(url, content=picture(), headers=begun["headers"]).raise_for_status()
    name = {"filename": "back.jpg"}
    call("completeUpload", staff, name, status=201, upload_id=begun["id"])
    call("deleteMedia", staff, status=204, media_id=made["id"])


def _webhooks(call: Recorder, staff: Api) -> None:
    with Receiver() as receiver:
        new = {"url": receiver.url, "events": ["order.paid", "product.*"], "description": "ERP"}
        made = call("createWebhookSubscription", staff, new, status=201)["subscription"]
        one = {"subscription_id": made["id"]}
        call("listWebhookSubscriptions", staff)
        call("getWebhookSubscription", staff, **one)
        call("updateWebhookSubscription", staff, {"events": ["order.*"]}, **one)
        call("putWebhookSubscription", staff, {"description": "ERP, production"}, **one)
        call("rotateWebhookSecret", staff, **one)
        sent = call("sendTestWebhook", staff, status=201, **one)["delivery"]
        eventually(lambda: receiver.received)
        call("listWebhookDeliveries", staff, **one)
        call("replayWebhookDelivery", staff, delivery_id=sent["id"], **one)
        call("replayFailedWebhookDeliveries", staff, **one)
        call("deleteWebhookSubscription", staff, status=204, **one)
