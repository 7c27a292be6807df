"""/coupons and /promotions over HTTP."""

from uuid import UUID

import msgspec
from litestar import Router, delete, get, post, route
from litestar.enums import HttpMethod
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.parameters import (
    Cursor,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    Page,
    PerPage,
)
from rcommerce.commerce.promotions import service
from rcommerce.commerce.promotions.schema import (
    CodesAnswer,
    CouponAnswer,
    CouponsAnswer,
    FieldsChange,
    GeneratedAnswer,
    NewCodes,
    NewCoupon,
    NewPromotion,
    PromotionAnswer,
    PromotionsAnswer,
    UsageAnswer,
)
from rcommerce.commerce.shop import Shop

CHANGE = [HttpMethod.PUT, HttpMethod.PATCH]
COUPON = answers.documented(CouponAnswer)
PROMOTION = answers.documented(PromotionAnswer)


@get("/coupons", summary="List coupons", responses=answers.documented(CouponsAnswer))
async def list_coupons(
    shop: Shop, page: Page = None, per_page: PerPage = 20, cursor: Cursor = None
) -> ASGIResponse:
    """Newest first. Scope coupons:read."""
    return answers.json(await service.everything(shop, page, per_page, cursor, is_coupon=True))


@get("/coupons/{key:str}", summary="Get a coupon", responses=COUPON)
async def get_coupon(shop: Shop, key: str, if_none_match: IfNoneMatch = None) -> ASGIResponse:
    """By id or code. Scope coupons:read."""
    version, body = await service.one(shop, key, is_coupon=True)
    return answers.versioned(version, body, if_none_match=if_none_match)


@post(
    "/coupons",
    summary="Create a coupon",
    responses=answers.documented(CouponAnswer, 201),
    problems="coupon_code_exists unprocessable",
)
async def create_coupon(
    shop: Shop, data: NewCoupon, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """A promotion that applies in carts with its code. Scope coupons:write."""
    return answers.versioned(*await service.create(shop, data), status=201)


@route(
    "/coupons/{coupon_id:uuid}",
    http_method=CHANGE,
    summary="Change a coupon",
    responses=COUPON,
    problems="unprocessable",
)
async def update_coupon(
    shop: Shop, coupon_id: UUID, data: FieldsChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent; its code stays. Scope coupons:write."""
    changed = await service.change(shop, coupon_id, data, if_match, is_coupon=True)
    return answers.versioned(*changed)


@delete("/coupons/{coupon_id:uuid}", summary="Delete a coupon")
async def delete_coupon(shop: Shop, coupon_id: UUID, if_match: IfMatch = None) -> None:
    """Orders keep their discounts. Scope coupons:write."""
    await service.delete(shop, coupon_id, if_match, is_coupon=True)


@get(
    "/coupons/{coupon_id:uuid}/usage",
    summary="List a coupon's uses",
    responses=answers.documented(UsageAnswer),
)
async def list_coupon_usage(
    shop: Shop,
    coupon_id: UUID,
    page: Page = None,
    per_page: PerPage = 20,
    cursor: Cursor = None,
) -> ASGIResponse:
    """Newest first. Scope coupons:read."""
    return answers.json(await service.usage(shop, coupon_id, page, per_page, cursor))


@post(
    "/coupons/{coupon_id:uuid}/codes",
    summary="Generate codes",
    responses=answers.documented(GeneratedAnswer, 201),
)
async def generate_coupon_codes(
    shop: Shop, coupon_id: UUID, data: NewCodes, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Random ones, up to 100,000 at a time. Scope coupons:write."""
    made = await service.generate(shop, coupon_id, data)
    return answers.json(msgspec.json.encode({"generated": made}), 201)


@get(
    "/coupons/{coupon_id:uuid}/codes",
    summary="List a coupon's codes",
    responses=answers.documented(CodesAnswer),
)
async def list_coupon_codes(
    shop: Shop,
    coupon_id: UUID,
    page: Page = None,
    per_page: PerPage = 20,
    cursor: Cursor = None,
) -> ASGIResponse:
    """Oldest first, with their uses. Scope coupons:read."""
    return answers.json(await service.code_page(shop, coupon_id, page, per_page, cursor))


@get(
    "/coupons/{coupon_id:uuid}/codes.csv",
    summary="Export a coupon's codes",
    media_type="text/csv",
)
async def export_coupon_codes(shop: Shop, coupon_id: UUID) -> str:
    """All of them: code, usage_limit, usage_count. Scope coupons:read."""
    return await service.exported(shop, coupon_id)


@get("/promotions", summary="List promotions", responses=answers.documented(PromotionsAnswer))
async def list_promotions(
    shop: Shop, page: Page = None, per_page: PerPage = 20, cursor: Cursor = None
) -> ASGIResponse:
    """Those that apply without a code, newest first. Scope coupons:read."""
    return answers.json(await service.everything(shop, page, per_page, cursor, is_coupon=False))


@get("/promotions/{promotion_id:uuid}", summary="Get a promotion", responses=PROMOTION)
async def get_promotion(
    shop: Shop, promotion_id: UUID, if_none_match: IfNoneMatch = None
) -> ASGIResponse:
    """Scope coupons:read."""
    version, body = await service.one(shop, str(promotion_id), is_coupon=False)
    return answers.versioned(version, body, if_none_match=if_none_match)


@post(
    "/promotions",
    summary="Create a promotion",
    responses=answers.documented(PromotionAnswer, 201),
    problems="unprocessable",
)
async def create_promotion(
    shop: Shop, data: NewPromotion, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """It applies to every cart that meets its conditions. Scope coupons:write."""
    return answers.versioned(*await service.create(shop, data), status=201)


@route(
    "/promotions/{promotion_id:uuid}",
    http_method=CHANGE,
    summary="Change a promotion",
    responses=PROMOTION,
    problems="unprocessable",
)
async def update_promotion(
    shop: Shop, promotion_id: UUID, data: FieldsChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent. Scope coupons:write."""
    changed = await service.change(shop, promotion_id, data, if_match, is_coupon=False)
    return answers.versioned(*changed)


@delete("/promotions/{promotion_id:uuid}", summary="Delete a promotion")
async def delete_promotion(shop: Shop, promotion_id: UUID, if_match: IfMatch = None) -> None:
    """Orders keep their discounts. Scope coupons:write."""
    await service.delete(shop, promotion_id, if_match, is_coupon=False)


router = Router(
    "/",
    tags=["Promotions"],
    route_handlers=[
        list_coupons,
        get_coupon,
        create_coupon,
        update_coupon,
        delete_coupon,
        list_coupon_usage,
        generate_coupon_codes,
        list_coupon_codes,
        export_coupon_codes,
        list_promotions,
        get_promotion,
        create_promotion,
        update_promotion,
        delete_promotion,
    ],
)
