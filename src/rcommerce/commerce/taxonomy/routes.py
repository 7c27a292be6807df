"""/collections and /categories over HTTP."""

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
from rcommerce.commerce.shop import FROM_REPLICAS, Shop
from rcommerce.commerce.taxonomy import service
from rcommerce.commerce.taxonomy.schema import (
    CategoriesAnswer,
    CategoryAnswer,
    CategoryChange,
    CollectionAnswer,
    CollectionChange,
    CollectionsAnswer,
    NewCategory,
    NewCollection,
)

CHANGE = [HttpMethod.PUT, HttpMethod.PATCH]


@get("/collections", summary="List collections", responses=answers.documented(CollectionsAnswer))
async def list_collections(
    shop: Shop, page: Page = None, per_page: PerPage = 20, cursor: Cursor = None
) -> ASGIResponse:
    """In their order. Only staff see inactive ones."""
    return answers.json(await service.collections(shop, page, per_page, cursor))


@get(
    "/collections/{key:str}",
    summary="Get a collection",
    responses=answers.documented(CollectionAnswer),
)
async def get_collection(shop: Shop, key: str, if_none_match: IfNoneMatch = None) -> ASGIResponse:
    """By id or slug; its products are under /products?collection_id=."""
    version, body = await service.one(shop, "collection", key)
    return answers.versioned(version, body, if_none_match=if_none_match)


@post(
    "/collections",
    summary="Create a collection",
    responses=answers.documented(CollectionAnswer, 201),
    problems="duplicate unprocessable",
)
async def create_collection(
    shop: Shop, data: NewCollection, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Scope products:write."""
    return answers.versioned(*await service.create_collection(shop, data), status=201)


@route(
    "/collections/{collection_id:uuid}",
    http_method=CHANGE,
    summary="Change a collection",
    responses=answers.documented(CollectionAnswer),
    problems="duplicate unprocessable",
)
async def update_collection(
    shop: Shop, collection_id: UUID, data: CollectionChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent. Scope products:write."""
    return answers.versioned(*await service.change_collection(shop, collection_id, data, if_match))


@delete("/collections/{collection_id:uuid}", summary="Delete a collection")
async def delete_collection(shop: Shop, collection_id: UUID, if_match: IfMatch = None) -> None:
    """Its products stay. Scope products:write."""
    await service.delete(shop, "collection", collection_id, if_match)


@get("/categories", summary="List categories", responses=answers.documented(CategoriesAnswer))
async def list_categories(shop: Shop) -> ASGIResponse:
    """The roots, each with its children."""
    tree = await service.category_tree(shop)
    return answers.json(msgspec.json.encode({"categories": tree}))


@get(
    "/categories/{key:str}", summary="Get a category", responses=answers.documented(CategoryAnswer)
)
async def get_category(shop: Shop, key: str, if_none_match: IfNoneMatch = None) -> ASGIResponse:
    """By id or slug."""
    version, body = await service.one(shop, "category", key)
    return answers.versioned(version, body, if_none_match=if_none_match)


@post(
    "/categories",
    summary="Create a category",
    responses=answers.documented(CategoryAnswer, 201),
    problems="duplicate unprocessable",
)
async def create_category(
    shop: Shop, data: NewCategory, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """At the root, or below `parent_id`. Scope products:write."""
    return answers.versioned(*await service.create_category(shop, data), status=201)


@route(
    "/categories/{category_id:uuid}",
    http_method=CHANGE,
    summary="Change a category",
    responses=answers.documented(CategoryAnswer),
    problems="conflict duplicate unprocessable",
)
async def update_category(
    shop: Shop, category_id: UUID, data: CategoryChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent. Scope products:write."""
    return answers.versioned(*await service.change_category(shop, category_id, data, if_match))


@delete(
    "/categories/{category_id:uuid}", summary="Delete a category", problems="category_not_empty"
)
async def delete_category(shop: Shop, category_id: UUID, if_match: IfMatch = None) -> None:
    """Must have no subcategories; its products stay, without a category. Scope products:write."""
    await service.delete(shop, "category", category_id, if_match)


router = Router(
    "/",
    tags=["Catalogue"],
    opt={FROM_REPLICAS: True},
    route_handlers=[
        list_collections,
        get_collection,
        create_collection,
        update_collection,
        delete_collection,
        list_categories,
        get_category,
        create_category,
        update_category,
        delete_category,
    ],
)
