"""/webhooks over HTTP."""

from uuid import UUID

import msgspec
from litestar import Router, delete, get, post, route
from litestar.enums import HttpMethod
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.parameters import Cursor, IdempotencyKey, Page, PerPage
from rcommerce.commerce.shop import Shop
from rcommerce.commerce.webhooks import service
from rcommerce.commerce.webhooks.schema import (
    DeliveriesAnswer,
    DeliveryAnswer,
    NewSubscription,
    ReplayAnswer,
    State,
    SubscriptionAnswer,
    SubscriptionChange,
    SubscriptionsAnswer,
)


@get("/", summary="List subscriptions", responses=answers.documented(SubscriptionsAnswer))
async def list_webhook_subscriptions(shop: Shop) -> ASGIResponse:
    """All subscriptions of the tenant, without their secrets. Scope webhooks:read."""
    return answers.json(await service.everyone(shop))


@get(
    "/{subscription_id:uuid}",
    summary="Get a subscription",
    responses=answers.documented(SubscriptionAnswer),
)
async def get_webhook_subscription(shop: Shop, subscription_id: UUID) -> ASGIResponse:
    """Without its secret. Scope webhooks:read."""
    return answers.json(await service.one(shop, subscription_id))


@post(
    "/",
    summary="Subscribe to events",
    responses=answers.documented(SubscriptionAnswer, 201),
    problems="too_many unprocessable",
)
async def create_webhook_subscription(
    shop: Shop, data: NewSubscription, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """The secret is shown here, and never again: verify with it what you receive, by Standard
    Webhooks. Scope webhooks:write."""
    return answers.json(await service.create(shop, data), 201)


@route(
    "/{subscription_id:uuid}",
    http_method=[HttpMethod.PUT, HttpMethod.PATCH],
    summary="Change a subscription",
    responses=answers.documented(SubscriptionAnswer),
    problems="unprocessable",
)
async def update_webhook_subscription(
    shop: Shop, subscription_id: UUID, data: SubscriptionChange
) -> ASGIResponse:
    """Changes the fields sent. Scope webhooks:write."""
    return answers.json(await service.change(shop, subscription_id, data))


@delete("/{subscription_id:uuid}", summary="Delete a subscription")
async def delete_webhook_subscription(shop: Shop, subscription_id: UUID) -> None:
    """With its deliveries. Scope webhooks:write."""
    await service.delete(shop, subscription_id)


@post(
    "/{subscription_id:uuid}/rotate",
    status_code=200,
    summary="Rotate the secret",
    responses=answers.documented(SubscriptionAnswer),
)
async def rotate_webhook_secret(
    shop: Shop, subscription_id: UUID, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Later messages are signed with the new secret. Scope webhooks:write."""
    return answers.json(await service.rotate(shop, subscription_id))


@post(
    "/{subscription_id:uuid}/test",
    summary="Send a test message",
    responses=answers.documented(DeliveryAnswer, 201),
)
async def send_test_webhook(
    shop: Shop, subscription_id: UUID, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """An event webhook.test, to this subscription alone. Scope webhooks:write."""
    return answers.json(await service.send_test(shop, subscription_id), 201)


@get(
    "/{subscription_id:uuid}/deliveries",
    summary="List deliveries",
    responses=answers.documented(DeliveriesAnswer),
)
async def list_webhook_deliveries(
    shop: Shop,
    subscription_id: UUID,
    status: State | None = None,
    page: Page = None,
    per_page: PerPage = 20,
    cursor: Cursor = None,
) -> ASGIResponse:
    """Newest first; completed deliveries are kept for 30 days. Scope webhooks:read."""
    return answers.json(
        await service.deliveries(shop, subscription_id, status, page, per_page, cursor)
    )


@post(
    "/{subscription_id:uuid}/replay",
    status_code=200,
    summary="Replay failed deliveries",
    responses=answers.documented(ReplayAnswer),
)
async def replay_failed_webhook_deliveries(
    shop: Shop, subscription_id: UUID, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """All dead messages, in their order. Scope webhooks:write."""
    count = await service.replay(shop, subscription_id)
    return answers.json(msgspec.json.encode(ReplayAnswer(count)))


@post(
    "/{subscription_id:uuid}/deliveries/{delivery_id:uuid}/replay",
    status_code=200,
    summary="Replay a delivery",
    responses=answers.documented(ReplayAnswer),
)
async def replay_webhook_delivery(
    shop: Shop, subscription_id: UUID, delivery_id: UUID, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Whatever its status. Scope webhooks:write."""
    count = await service.replay(shop, subscription_id, delivery_id)
    return answers.json(msgspec.json.encode(ReplayAnswer(count)))


router = Router(
    "/webhooks/subscriptions",
    tags=["Webhooks"],
    route_handlers=[
        list_webhook_subscriptions,
        get_webhook_subscription,
        create_webhook_subscription,
        update_webhook_subscription,
        delete_webhook_subscription,
        rotate_webhook_secret,
        send_test_webhook,
        list_webhook_deliveries,
        replay_failed_webhook_deliveries,
        replay_webhook_delivery,
    ],
)
