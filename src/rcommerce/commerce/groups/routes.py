"""/customer-groups over HTTP."""

from uuid import UUID

from litestar import Router, delete, get, post, put, route
from litestar.enums import HttpMethod
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.groups import service
from rcommerce.commerce.groups.schema import (
    GroupAnswer,
    GroupChange,
    GroupsAnswer,
    MembersAnswer,
    NewGroup,
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

GROUP = answers.documented(GroupAnswer)


@get("/", summary="List customer groups", responses=answers.documented(GroupsAnswer))
async def list_customer_groups(
    shop: Shop, page: Page = None, per_page: PerPage = 20, cursor: Cursor = None
) -> ASGIResponse:
    """Newest first. Scope customers:read."""
    return answers.json(await service.everything(shop, page, per_page, cursor))


@get("/{group_id:uuid}", summary="Get a customer group", responses=GROUP)
async def get_customer_group(
    shop: Shop, group_id: UUID, if_none_match: IfNoneMatch = None
) -> ASGIResponse:
    """Scope customers:read."""
    version, body = await service.one(shop, group_id)
    return answers.versioned(version, body, if_none_match=if_none_match)


@post(
    "/",
    summary="Create a customer group",
    responses=answers.documented(GroupAnswer, 201),
    problems="duplicate",
)
async def create_customer_group(
    shop: Shop, data: NewGroup, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Price lists and promotions can be for it. Scope customers:write."""
    return answers.versioned(*await service.create(shop, data), status=201)


@route(
    "/{group_id:uuid}",
    http_method=[HttpMethod.PUT, HttpMethod.PATCH],
    summary="Change a customer group",
    responses=GROUP,
    problems="duplicate",
)
async def update_customer_group(
    shop: Shop, group_id: UUID, data: GroupChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent. Scope customers:write."""
    return answers.versioned(*await service.change(shop, group_id, data, if_match))


@delete("/{group_id:uuid}", summary="Delete a customer group", problems="group_in_use")
async def delete_customer_group(shop: Shop, group_id: UUID, if_match: IfMatch = None) -> None:
    """One without price lists; its customers stay. Scope customers:write."""
    await service.delete(shop, group_id, if_match)


@get(
    "/{group_id:uuid}/customers",
    summary="List a group's customers",
    responses=answers.documented(MembersAnswer),
)
async def list_group_customers(
    shop: Shop, group_id: UUID, page: Page = None, per_page: PerPage = 20, cursor: Cursor = None
) -> ASGIResponse:
    """Scope customers:read."""
    return answers.json(await service.members(shop, group_id, page, per_page, cursor))


@put(
    "/{group_id:uuid}/customers/{customer_id:uuid}",
    status_code=204,
    summary="Add a customer to a group",
    problems="unprocessable",
)
async def add_group_customer(shop: Shop, group_id: UUID, customer_id: UUID) -> None:
    """Scope customers:write."""
    await service.add(shop, group_id, customer_id)


@delete("/{group_id:uuid}/customers/{customer_id:uuid}", summary="Take a customer out of a group")
async def remove_group_customer(shop: Shop, group_id: UUID, customer_id: UUID) -> None:
    """Scope customers:write."""
    await service.remove(shop, group_id, customer_id)


router = Router(
    "/customer-groups",
    tags=["Customers"],
    route_handlers=[
        list_customer_groups,
        get_customer_group,
        create_customer_group,
        update_customer_group,
        delete_customer_group,
        list_group_customers,
        add_group_customer,
        remove_group_customer,
    ],
)
