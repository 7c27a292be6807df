"""/media over HTTP. The files themselves are given out by `rcommerce.http.media`."""

from typing import Any
from uuid import UUID

from litestar import Request, Router, delete, get, post
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.media import service
from rcommerce.commerce.media.schema import (
    Complete,
    MediaAnswer,
    MediaListAnswer,
    NewUpload,
    UploadAnswer,
)
from rcommerce.commerce.media.uploads import received
from rcommerce.commerce.parameters import Cursor, IdempotencyKey, Page, PerPage
from rcommerce.commerce.shop import Shop

# A file is identified by its bytes: the same file is the same upload, without an idempotency key.
# No transaction is open while a file is transferred.
BY_CONTENT = {"idempotency": "by_content"}
# 200 where the same file was there already.
MADE = answers.documented(MediaAnswer, 201) | answers.documented(MediaAnswer, 200)


@get("/", summary="List uploads", responses=answers.documented(MediaListAnswer))
async def list_media(
    shop: Shop, page: Page = None, per_page: PerPage = 20, cursor: Cursor = None
) -> ASGIResponse:
    """The newest first. Scope media:read."""
    return answers.json(await service.page(shop, page, per_page, cursor))


@get("/{media_id:uuid}", summary="Get an upload", responses=answers.documented(MediaAnswer))
async def get_media(shop: Shop, media_id: UUID) -> ASGIResponse:
    """Scope media:read."""
    return answers.json(await service.one(shop, media_id))


@post(
    "/",
    summary="Upload a file",
    responses=MADE,
    opt=BY_CONTENT,
    request_max_body_size=None,
    problems="image_too_large media_unavailable unsupported_media",
)
async def upload_media(shop: Shop, request: Request[Any, Any, Any]) -> ASGIResponse:
    """The field `file` of a multipart form, or the body as it is. JPEG, PNG, WebP, GIF, AVIF, MP4,
    WebM and PDF are taken, by their content. 200 where the same file was there. Scope media:write.
    """
    shop.caller.require(service.WRITE)
    kind = request.headers.get("content-type", "")
    most = shop.services.settings.media.max_upload_mb
    async with received(request.stream(), kind, most) as file:
        body, is_new = await service.add(shop, file)
    return answers.json(body, 201 if is_new else 200)


@delete("/{media_id:uuid}", summary="Delete an upload", problems="in_use media_unavailable")
async def delete_media(shop: Shop, media_id: UUID) -> None:
    """With its file and renditions. 409 while a product image uses it. Scope media:write."""
    await service.delete(shop, media_id)


@post(
    "/uploads",
    summary="Start a direct upload",
    responses=answers.documented(UploadAnswer, 201),
    problems="media_unavailable unsupported_media",
)
async def start_upload(
    shop: Shop, data: NewUpload, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Returns a URL to upload to, that of the bucket if there is one. Scope media:write."""
    return answers.json(await service.start_upload(shop, data), 201)


@post(
    "/uploads/{upload_id:uuid}/complete",
    summary="Complete a direct upload",
    responses=MADE,
    opt=BY_CONTENT,
    problems="image_too_large media_unavailable unsupported_media",
)
async def complete_upload(shop: Shop, upload_id: UUID, data: Complete) -> ASGIResponse:
    """Checks and stores the uploaded file. Scope media:write."""
    body, is_new = await service.complete_upload(shop, upload_id, data.filename)
    return answers.json(body, 201 if is_new else 200)


router = Router(
    "/media",
    tags=["Media"],
    route_handlers=[
        list_media,
        get_media,
        upload_media,
        delete_media,
        start_upload,
        complete_upload,
    ],
)
