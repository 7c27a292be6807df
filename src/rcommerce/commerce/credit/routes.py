"""/gift-cards and customers' credit over HTTP."""

from typing import Annotated
from uuid import UUID

from litestar import Router, get, patch, post
from litestar.params import Parameter
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.credit import service
from rcommerce.commerce.credit.schema import (
    BalanceAnswer,
    CreditAnswer,
    CreditChange,
    EntriesAnswer,
    GiftCardAnswer,
    GiftCardChange,
    GiftCardsAnswer,
    IssuedAnswer,
    LiabilityAnswer,
    NewGiftCard,
)
from rcommerce.commerce.parameters import Cursor, IdempotencyKey, Page, PerPage
from rcommerce.commerce.shop import Shop

Currency = Annotated[str | None, Parameter(max_length=3, description="the shop's by default")]
ENTRIES = answers.documented(EntriesAnswer)


@get("/gift-cards", summary="List gift cards", responses=answers.documented(GiftCardsAnswer))
async def list_gift_cards(
    shop: Shop, page: Page = None, per_page: PerPage = 20, cursor: Cursor = None
) -> ASGIResponse:
    """Newest first. Scope coupons:read."""
    return answers.json(await service.cards(shop, page, per_page, cursor))


@post("/gift-cards", summary="Issue a gift card", responses=answers.documented(IssuedAnswer, 201))
async def issue_gift_card(
    shop: Shop, data: NewGiftCard, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Its code is shown here, and never again. Scope coupons:write."""
    return answers.json(await service.issue(shop, data), 201)


@get(
    "/gift-cards/liability",
    summary="Get the liability",
    responses=answers.documented(LiabilityAnswer),
)
async def get_liability(shop: Shop) -> ASGIResponse:
    """What can still be spent, by kind and currency. Scope coupons:read."""
    return answers.json(await service.liability(shop))


@get(
    "/gift-cards/{gift_card_id:uuid}",
    summary="Get a gift card",
    responses=answers.documented(GiftCardAnswer),
)
async def get_gift_card(shop: Shop, gift_card_id: UUID) -> ASGIResponse:
    """Scope coupons:read."""
    return answers.json(await service.card(shop, gift_card_id))


@patch(
    "/gift-cards/{gift_card_id:uuid}",
    summary="Change a gift card",
    responses=answers.documented(GiftCardAnswer),
)
async def update_gift_card(shop: Shop, gift_card_id: UUID, data: GiftCardChange) -> ASGIResponse:
    """Changes the fields sent; its balance stays. Scope coupons:write."""
    return answers.json(await service.change_card(shop, gift_card_id, data))


@get(
    "/gift-cards/{gift_card_id:uuid}/entries",
    summary="List a gift card's entries",
    responses=ENTRIES,
)
async def list_gift_card_entries(shop: Shop, gift_card_id: UUID) -> ASGIResponse:
    """Oldest first. Scope coupons:read."""
    return answers.json(await service.card_entries(shop, gift_card_id))


@get(
    "/gift-cards/{code:str}/balance",
    summary="Get a gift card's balance",
    responses=answers.documented(BalanceAnswer),
    problems="rate_limited",
)
async def get_gift_card_balance(shop: Shop, code: str) -> ASGIResponse:
    """For whoever has its code: spaces, hyphens and case do not matter."""
    return answers.json(await service.balance(shop, code))


@get("/customers/me/credit", summary="Get my credit", responses=answers.documented(CreditAnswer))
async def get_my_credit(shop: Shop) -> ASGIResponse:
    """By currency."""
    return answers.json(await service.mine(shop))


@get("/customers/me/credit/entries", summary="List my credit's entries", responses=ENTRIES)
async def list_my_credit_entries(shop: Shop, currency: Currency = None) -> ASGIResponse:
    """Oldest first."""
    return answers.json(await service.credit_entries(shop, None, currency))


@get(
    "/customers/{customer_id:uuid}/credit",
    summary="Get a customer's credit",
    responses=answers.documented(CreditAnswer),
)
async def get_customer_credit(shop: Shop, customer_id: UUID) -> ASGIResponse:
    """By currency. Scope coupons:read."""
    return answers.json(await service.of_customer(shop, customer_id))


@post(
    "/customers/{customer_id:uuid}/credit",
    summary="Give credit to a customer",
    responses=answers.documented(CreditAnswer, 201),
    problems="balance_too_low",
)
async def give_customer_credit(
    shop: Shop, customer_id: UUID, data: CreditChange, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Or take it away, with a negative amount. Scope coupons:write."""
    return answers.json(await service.give(shop, customer_id, data), 201)


@get(
    "/customers/{customer_id:uuid}/credit/entries",
    summary="List a customer's credit entries",
    responses=ENTRIES,
)
async def list_customer_credit_entries(
    shop: Shop, customer_id: UUID, currency: Currency = None
) -> ASGIResponse:
    """Oldest first. Scope coupons:read."""
    return answers.json(await service.credit_entries(shop, customer_id, currency))


router = Router(
    "/",
    tags=["Gift cards and credit"],
    route_handlers=[
        list_gift_cards,
        issue_gift_card,
        get_liability,
        get_gift_card,
        update_gift_card,
        list_gift_card_entries,
        get_gift_card_balance,
        get_my_credit,
        list_my_credit_entries,
        get_customer_credit,
        give_customer_credit,
        list_customer_credit_entries,
    ],
)
