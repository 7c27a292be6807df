"""/channels over HTTP."""

from uuid import UUID

from litestar import Router, delete, get, post, put, route
from litestar.enums import HttpMethod
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.channels import service
from rcommerce.commerce.channels.schema import (
    Availability,
    ChannelAnswer,
    ChannelChange,
    ChannelsAnswer,
    ListingAnswer,
    NewChannel,
)
from rcommerce.commerce.parameters import (
    Cursor,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    Page,
    PerPage,
)
from rcommerce.commerce.shop import Shop

CHANNEL = answers.documented(ChannelAnswer)


@get("/", summary="List channels", responses=answers.documented(ChannelsAnswer))
async def list_channels(
    shop: Shop, page: Page = None, per_page: PerPage = 20, cursor: Cursor = None
) -> ASGIResponse:
    """By slug. Scope products:read."""
    return answers.json(await service.everything(shop, page, per_page, cursor))


@get("/{key:str}", summary="Get a channel", responses=CHANNEL)
async def get_channel(shop: Shop, key: str, if_none_match: IfNoneMatch = None) -> ASGIResponse:
    """By id or slug. Scope products:read."""
    version, body = await service.one(shop, key)
    return answers.versioned(version, body, if_none_match=if_none_match)


@post(
    "/",
    summary="Create a channel",
    responses=answers.documented(ChannelAnswer, 201),
    problems="duplicate unprocessable",
)
async def create_channel(
    shop: Shop, data: NewChannel, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Where products are sold, in one currency. Scope products:write."""
    return answers.versioned(*await service.create(shop, data), status=201)


@route(
    "/{key:str}",
    http_method=[HttpMethod.PUT, HttpMethod.PATCH],
    summary="Change a channel",
    responses=CHANNEL,
    problems="duplicate channel_in_use unprocessable",
)
async def update_channel(
    shop: Shop, key: str, data: ChannelChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent. Scope products:write."""
    return answers.versioned(*await service.change(shop, key, data, if_match))


@delete("/{key:str}", summary="Delete a channel", problems="channel_in_use")
async def delete_channel(shop: Shop, key: str, if_match: IfMatch = None) -> None:
    """One without carts and price lists. Scope products:write."""
    await service.delete(shop, key, if_match)


@put(
    "/{key:str}/products/{product_id:uuid}",
    summary="Sell a product in a channel",
    responses=answers.documented(ListingAnswer),
    problems="unprocessable",
)
async def put_channel_product(
    shop: Shop, key: str, product_id: UUID, data: Availability
) -> ASGIResponse:
    """Chooses it, for always or for a time. Scope products:write."""
    return answers.json(await service.put_product(shop, key, product_id, data))


@delete("/{key:str}/products/{product_id:uuid}", summary="Take a product out of a channel")
async def remove_channel_product(shop: Shop, key: str, product_id: UUID) -> None:
    """Undoes having chosen it. Scope products:write."""
    await service.remove_product(shop, key, product_id)


router = Router(
    "/channels",
    tags=["Channels and prices"],
    route_handlers=[
        list_channels,
        get_channel,
        create_channel,
        update_channel,
        delete_channel,
        put_channel_product,
        remove_channel_product,
    ],
)
