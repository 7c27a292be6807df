"""/products over HTTP."""

from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from litestar import Router, delete, get, post, route
from litestar.enums import HttpMethod
from litestar.params import Parameter
from litestar.response.base import ASGIResponse

from rcommerce import ids as identifiers
from rcommerce import money
from rcommerce.commerce import answers
from rcommerce.commerce.catalog import service
from rcommerce.commerce.catalog.schema import (
    ImageChange,
    NewImage,
    NewProduct,
    NewVariant,
    ProductAnswer,
    ProductChange,
    ProductFilter,
    ProductsAnswer,
    Status,
    VariantChange,
)
from rcommerce.commerce.parameters import (
    Channel,
    Cursor,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    Page,
    PerPage,
)
from rcommerce.commerce.shop import FROM_REPLICAS, Shop
from rcommerce.errors import Invalid

Amount = Annotated[Decimal | None, Parameter(description="a decimal")]
Words = Annotated[str | None, Parameter(max_length=255)]
CHANGE = [HttpMethod.PUT, HttpMethod.PATCH]


@get("/", summary="List and search products", responses=answers.documented(ProductsAnswer))
async def list_products(
    shop: Shop,
    page: Page = None,
    per_page: PerPage = 20,
    cursor: Cursor = None,
    status: Annotated[Status | None, Parameter(description="for staff")] = None,
    product_type: Words = None,
    vendor: Words = None,
    min_price: Amount = None,
    max_price: Amount = None,
    tags: Annotated[str | None, Parameter(max_length=2000, description="a,b: all of them")] = None,
    ids: Annotated[str | None, Parameter(max_length=4000, description="id,id")] = None,
    collection_id: UUID | None = None,
    category: Annotated[
        str | None, Parameter(max_length=255, description="slug or id; with those below it")
    ] = None,
    q: Annotated[
        str | None, Parameter(min_length=1, max_length=255, description="search; forgives typos")
    ] = None,
    inventory_status: Literal["in_stock", "out_of_stock"] | None = None,
    is_featured: bool | None = None,
    sort: Literal["title", "price", "created_at", "updated_at", "relevance"] | None = None,
    order: Literal["asc", "desc"] | None = None,
    channel: Channel = None,
) -> ASGIResponse:
    """A page of products: 20, or `per_page`. Only staff see drafts and archived products. Prices
    are those of the channel."""
    by = sort or ("relevance" if q else "created_at")
    wanted = ProductFilter(
        status=service.visible(shop, status),  # type: ignore[arg-type]
        product_type=product_type,
        vendor=vendor,
        min_price=_bound(min_price, "min_price"),
        max_price=_bound(max_price, "max_price"),
        tags=tuple(part.strip() for part in tags.split(",") if part.strip()) if tags else (),
        ids=_ids(ids),
        collection_id=collection_id,
        category=category,
        q=q,
        inventory_status=inventory_status,
        is_featured=is_featured,
        sort=by,
        descending=(order or ("asc" if by in ("title", "price") else "desc")) == "desc",
    )
    return answers.json(await service.products(shop, wanted, page, per_page, cursor, channel))


def _bound(value: Decimal | None, name: str) -> Decimal | None:
    if value is not None and not (value.is_finite() and 0 <= value < money.LARGEST):
        raise Invalid.field(name, f"must be an amount of at least 0 and below {money.LARGEST:f}")
    return value


def _ids(text: str | None) -> tuple[UUID, ...]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    for part in parts:
        if not identifiers.is_uuid(part):
            raise Invalid.field("ids", f"“{part[:40]}” is not an id")
    return tuple(UUID(part) for part in parts)


@get("/{key:str}", summary="Get a product", responses=answers.documented(ProductAnswer))
async def get_product(
    shop: Shop, key: str, channel: Channel = None, if_none_match: IfNoneMatch = None
) -> ASGIResponse:
    """By id or slug, with the prices of the channel."""
    version, body = await service.product(shop, key, channel)
    return answers.versioned(version, body, if_none_match=if_none_match)


@post(
    "/",
    summary="Create a product",
    responses=answers.documented(ProductAnswer, 201),
    problems="duplicate unprocessable",
)
async def create_product(
    shop: Shop, data: NewProduct, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """With its variants and images. Scope products:write."""
    product, version, body = await service.create(shop, data)
    answer = answers.versioned(version, body, status=201)
    answer.headers["Location"] = f"/api/v1/products/{product}"
    return answer


@route(
    "/{product_id:uuid}",
    http_method=CHANGE,
    summary="Change a product",
    responses=answers.documented(ProductAnswer),
    problems="conflict duplicate unprocessable",
)
async def update_product(
    shop: Shop, product_id: UUID, data: ProductChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent. Scope products:write."""
    return answers.versioned(*await service.change(shop, product_id, data, if_match))


@delete("/{product_id:uuid}", summary="Delete a product")
async def delete_product(shop: Shop, product_id: UUID, if_match: IfMatch = None) -> None:
    """With its variants and images; orders keep their copies. Scope products:write."""
    await service.delete(shop, product_id, if_match)


@post(
    "/{product_id:uuid}/variants",
    summary="Add a variant",
    responses=answers.documented(ProductAnswer, 201),
    problems="duplicate unprocessable",
)
async def create_product_variant(
    shop: Shop,
    product_id: UUID,
    data: NewVariant,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> ASGIResponse:
    """Scope products:write."""
    done = await service.add_variant(shop, product_id, data, if_match)
    return answers.versioned(*done, status=201)


@route(
    "/{product_id:uuid}/variants/{variant_id:uuid}",
    http_method=CHANGE,
    summary="Change a variant",
    responses=answers.documented(ProductAnswer),
    problems="duplicate unprocessable",
)
async def update_product_variant(
    shop: Shop, product_id: UUID, variant_id: UUID, data: VariantChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent. Scope products:write."""
    done = await service.change_variant(shop, product_id, variant_id, data, if_match)
    return answers.versioned(*done)


@delete(
    "/{product_id:uuid}/variants/{variant_id:uuid}",
    status_code=200,
    summary="Delete a variant",
    responses=answers.documented(ProductAnswer),
    problems="last_variant",
)
async def delete_product_variant(
    shop: Shop, product_id: UUID, variant_id: UUID, if_match: IfMatch = None
) -> ASGIResponse:
    """A product keeps at least one. Scope products:write."""
    done = await service.delete_variant(shop, product_id, variant_id, if_match)
    return answers.versioned(*done)


@post(
    "/{product_id:uuid}/images",
    summary="Add an image",
    responses=answers.documented(ProductAnswer, 201),
    problems="unprocessable",
)
async def create_product_image(
    shop: Shop,
    product_id: UUID,
    data: NewImage,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> ASGIResponse:
    """By its address. Scope products:write."""
    done = await service.add_image(shop, product_id, data, if_match)
    return answers.versioned(*done, status=201)


@route(
    "/{product_id:uuid}/images/{image_id:uuid}",
    http_method=CHANGE,
    summary="Change an image",
    responses=answers.documented(ProductAnswer),
    problems="unprocessable",
)
async def update_product_image(
    shop: Shop, product_id: UUID, image_id: UUID, data: ImageChange, if_match: IfMatch = None
) -> ASGIResponse:
    """Changes the fields sent. Scope products:write."""
    return answers.versioned(
        *await service.change_image(shop, product_id, image_id, data, if_match)
    )


@delete(
    "/{product_id:uuid}/images/{image_id:uuid}",
    status_code=200,
    summary="Delete an image",
    responses=answers.documented(ProductAnswer),
)
async def delete_product_image(
    shop: Shop, product_id: UUID, image_id: UUID, if_match: IfMatch = None
) -> ASGIResponse:
    """Scope products:write."""
    done = await service.delete_image(shop, product_id, image_id, if_match)
    return answers.versioned(*done)


router = Router(
    "/products",
    tags=["Catalogue"],
    opt={FROM_REPLICAS: True},
    route_handlers=[
        list_products,
        get_product,
        create_product,
        update_product,
        delete_product,
        create_product_variant,
        update_product_variant,
        delete_product_variant,
        create_product_image,
        update_product_image,
        delete_product_image,
    ],
)
