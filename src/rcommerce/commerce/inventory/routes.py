"""/inventory over HTTP."""

from uuid import UUID

from litestar import Router, get, post
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.inventory import service
from rcommerce.commerce.inventory.schema import (
    Adjustment,
    LevelAnswer,
    LevelsAnswer,
    LevelsPage,
    LocationsAnswer,
    MadeLocation,
    MovementsPage,
    NewLocation,
    NewReservation,
    Receipt,
    Recount,
    Release,
    Reserved,
    Transfer,
)
from rcommerce.commerce.parameters import Cursor, IdempotencyKey, Page, PerPage
from rcommerce.commerce.shop import FROM_REPLICAS, Shop

READ, WRITE = "inventory:read", "inventory:write"


@get("/", summary="List stock levels", responses=answers.documented(LevelsPage))
async def list_inventory(
    shop: Shop,
    page: Page = None,
    per_page: PerPage = 20,
    cursor: Cursor = None,
    location_id: UUID | None = None,
) -> ASGIResponse:
    """By variant and location. Scope inventory:read."""
    shop.caller.require(READ)
    return answers.json(await service.list_levels(shop, page, per_page, cursor, location_id))


@get("/{variant_id:uuid}", summary="Get stock levels of a variant")
async def get_inventory(shop: Shop, variant_id: UUID) -> LevelsAnswer:
    """At every location. Scope inventory:read."""
    shop.caller.require(READ)
    return LevelsAnswer(await service.levels(shop, variant_id))


@get("/movements", summary="List stock movements", responses=answers.documented(MovementsPage))
async def list_inventory_movements(
    shop: Shop,
    page: Page = None,
    per_page: PerPage = 20,
    cursor: Cursor = None,
    variant_id: UUID | None = None,
) -> ASGIResponse:
    """What changed and why, newest first. Scope inventory:read."""
    shop.caller.require(READ)
    return answers.json(await service.list_movements(shop, page, per_page, cursor, variant_id))


@get("/locations", summary="List locations", responses=answers.documented(LocationsAnswer))
async def list_locations(shop: Shop) -> ASGIResponse:
    """The default one first. Scope inventory:read."""
    shop.caller.require(READ)
    return answers.json(await service.locations(shop))


@post("/locations", summary="Create a location", problems="duplicate")
async def create_location(
    shop: Shop, data: NewLocation, idempotency_key: IdempotencyKey = None
) -> MadeLocation:
    """Scope inventory:write."""
    shop.caller.require(WRITE)
    return MadeLocation(await service.add_location(shop, data.name), data.name)


@post(
    "/adjust",
    status_code=200,
    summary="Adjust stock",
    problems="not_found out_of_stock stock_reserved",
)
async def adjust_inventory(
    shop: Shop, data: Adjustment, idempotency_key: IdempotencyKey = None
) -> LevelAnswer:
    """By a difference, such as damage. Scope inventory:write."""
    shop.caller.require(WRITE)
    return LevelAnswer(await service.adjust(shop, data))


@post("/set", status_code=200, summary="Set a stock level", problems="not_found stock_reserved")
async def set_inventory(
    shop: Shop, data: Recount, idempotency_key: IdempotencyKey = None
) -> LevelAnswer:
    """Never below what is reserved. Scope inventory:write."""
    shop.caller.require(WRITE)
    return LevelAnswer(await service.recount(shop, data))


@post("/receive", status_code=200, summary="Receive goods", problems="not_found")
async def receive_inventory(
    shop: Shop, data: Receipt, idempotency_key: IdempotencyKey = None
) -> LevelAnswer:
    """Scope inventory:write."""
    shop.caller.require(WRITE)
    return LevelAnswer(await service.receive(shop, data))


@post("/reserve", summary="Reserve units", problems="not_found out_of_stock")
async def reserve_inventory(
    shop: Shop, data: NewReservation, idempotency_key: IdempotencyKey = None
) -> Reserved:
    """Until released, or for `expires_in_s`. Scope inventory:write."""
    shop.caller.require(WRITE)
    return Reserved(await service.hold(shop, data), data.variant_id, data.quantity)


@post("/release", status_code=204, summary="Release a reservation", problems="not_found")
async def release_inventory(
    shop: Shop, data: Release, idempotency_key: IdempotencyKey = None
) -> None:
    """Of a reservation made here. Scope inventory:write."""
    shop.caller.require(WRITE)
    await service.release(shop, data.reservation_id)


@post(
    "/transfer",
    status_code=200,
    summary="Transfer units between locations",
    problems="not_found out_of_stock stock_reserved",
)
async def transfer_inventory(
    shop: Shop, data: Transfer, idempotency_key: IdempotencyKey = None
) -> LevelsAnswer:
    """Scope inventory:write."""
    shop.caller.require(WRITE)
    return LevelsAnswer(await service.transfer(shop, data))


router = Router(
    "/inventory",
    tags=["Inventory"],
    opt={FROM_REPLICAS: True},
    route_handlers=[
        list_inventory,
        get_inventory,
        list_inventory_movements,
        list_locations,
        create_location,
        adjust_inventory,
        set_inventory,
        receive_inventory,
        reserve_inventory,
        release_inventory,
        transfer_inventory,
    ],
)
