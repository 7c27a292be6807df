"""/price-lists, /exchange-rates and /products/{id}/prices over HTTP."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Router, delete, get, post, put, route
from litestar.enums import HttpMethod
from litestar.params import Parameter
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.parameters import (
    Channel,
    Cursor,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    Page,
    PerPage,
)
from rcommerce.commerce.prices import service
from rcommerce.commerce.prices.schema import (
    ChangedAnswer,
    ExplainedAnswer,
    NewPriceList,
    PriceKeys,
    PriceListAnswer,
    PriceListChange,
    PriceListsAnswer,
    Prices,
    PricesAnswer,
    Rates,
    RatesAnswer,
)
from rcommerce.commerce.shop import Shop

PRICE_LIST = answers.documented(PriceListAnswer)
CHANGED = answers.documented(ChangedAnswer)


@get("/price-lists", summary="List price lists", responses=answers.documented(PriceListsAnswer))
async def list_price_lists(
    shop: Shop, page: Page = None, per_page: PerPage = 20, cursor: Cursor = None
) -> ASGIResponse:
    """Newest first. Scope products:read."""
    return answers.json(await service.everything(shop, page, per_page, cursor))


@get("/price-lists/{price_list_id:uuid}", summary="Get a price list", responses=PRICE_LIST)
async def get_price_list(
    shop: Shop, price_list_id: UUID, if_none_match: IfNoneMatch = None
) -> ASGIResponse:
    """Scope products:read."""
    version, body = await service.one(shop, price_list_id)
    return answers.versioned(version, body, if_none_match=if_none_match)


@post(
    "/price-lists",
    summary="Create a price list",
    responses=answers.documented(PriceListAnswer, 201),
    problems="currency_mismatch unprocessable",
)
async def create_price_list(
    shop: Shop, data: NewPriceList, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """For channels and customer groups, always or for a time. Scope products:write."""
    return answers.versioned(*await service.create(shop, data), status=201)


@route(
    "/price-lists/{price_list_id:uuid}",
    http_method=[HttpMethod.PUT, HttpMethod.PATCH],
    summary="Change a price list",
    responses=PRICE_LIST,
    problems="currency_mismatch unprocessable",
)
async def update_price_list(
    shop: Shop, price_list_id: UUID, data: PriceListChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent; its currency stays. Scope products:write."""
    return answers.versioned(*await service.change(shop, price_list_id, data, if_match))


@delete("/price-lists/{price_list_id:uuid}", summary="Delete a price list")
async def delete_price_list(shop: Shop, price_list_id: UUID, if_match: IfMatch = None) -> None:
    """With its prices. Scope products:write."""
    await service.delete(shop, price_list_id, if_match)


@get(
    "/price-lists/{price_list_id:uuid}/prices",
    summary="List the prices of a price list",
    responses=answers.documented(PricesAnswer),
)
async def list_prices(
    shop: Shop,
    price_list_id: UUID,
    page: Page = None,
    per_page: PerPage = 20,
    cursor: Cursor = None,
) -> ASGIResponse:
    """By variant and quantity. Scope products:read."""
    return answers.json(await service.prices(shop, price_list_id, page, per_page, cursor))


@put(
    "/price-lists/{price_list_id:uuid}/prices",
    summary="Set prices of a price list",
    responses=CHANGED,
    problems="unprocessable",
)
async def put_prices(shop: Shop, price_list_id: UUID, data: Prices) -> ASGIResponse:
    """Up to 10,000; others stay. Scope products:write."""
    return _changed(await service.put(shop, price_list_id, data))


@delete(
    "/price-lists/{price_list_id:uuid}/prices",
    status_code=200,
    summary="Remove prices from a price list",
    responses=CHANGED,
)
async def remove_prices(shop: Shop, price_list_id: UUID, data: PriceKeys) -> ASGIResponse:
    """Up to 10,000. Scope products:write."""
    return _changed(await service.remove(shop, price_list_id, data))


def _changed(count: int) -> ASGIResponse:
    return answers.json(msgspec.json.encode({"prices": count}))


@get("/exchange-rates", summary="List exchange rates", responses=answers.documented(RatesAnswer))
async def list_exchange_rates(shop: Shop) -> ASGIResponse:
    """Scope products:read."""
    return answers.json(await service.rates(shop))


@put(
    "/exchange-rates",
    summary="Replace exchange rates",
    responses=answers.documented(RatesAnswer),
    problems="rates_unavailable",
)
async def put_exchange_rates(shop: Shop, data: Rates) -> ASGIResponse:
    """All of them. A product without a price in a channel's currency costs its own price at this
    rate. Scope products:write."""
    return answers.json(await service.set_rates(shop, data))


@get(
    "/products/{product_id:uuid}/prices",
    summary="Explain a product's prices",
    responses=answers.documented(ExplainedAnswer),
)
async def explain_prices(
    shop: Shop,
    product_id: UUID,
    channel: Channel = None,
    customer_group: UUID | None = None,
    quantity: Annotated[int, Parameter(ge=1, le=9999)] = 1,
) -> ASGIResponse:
    """Which price list gives which amount. Scope products:read."""
    found = await service.explain(shop, product_id, channel, customer_group, quantity)
    return answers.json(found)


router = Router(
    "/",
    tags=["Channels and prices"],
    route_handlers=[
        list_price_lists,
        get_price_list,
        create_price_list,
        update_price_list,
        delete_price_list,
        list_prices,
        put_prices,
        remove_prices,
        list_exchange_rates,
        put_exchange_rates,
        explain_prices,
    ],
)
