"""The rules of media."""

import asyncio
import contextlib
import hmac
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import msgspec
from psycopg.errors import ForeignKeyViolation

from rcommerce import clock, ids
from rcommerce.commerce import paging
from rcommerce.commerce.media import paths, queries
from rcommerce.commerce.media.files import Kind, inspect
from rcommerce.commerce.media.queries import Stored
from rcommerce.commerce.media.schema import NewUpload, UploadAnswer, UploadView
from rcommerce.commerce.media.uploads import Upload, received
from rcommerce.commerce.shop import Caller, Services, Shop
from rcommerce.database import Connection
from rcommerce.errors import Conflict, Forbidden, NotFound, TooLarge, Unavailable, Unprocessable
from rcommerce.jobs import queue
from rcommerce.storage.objects import Found, Missing

READ = "media:read"
WRITE = "media:write"
RENDER = "media.render"
SWEEP = Caller(process="sweep")
UPLOAD_EXPIRES_S = 3600
# An upload stores the file first and its row afterwards: a file that has no row by then never gets
# one.
ORPHAN_AGE = timedelta(hours=24)


async def add(shop: Shop, upload: Upload) -> tuple[bytes, bool]:
    """Stores a file; returns its JSON, and whether it is new: the same bytes are stored once.

    Raises Unprocessable if the type is not accepted, Unavailable.
    """
    shop.caller.require(WRITE)
    most = shop.services.settings.media.image_processing.max_megapixels
    kind = await asyncio.to_thread(inspect, upload.path, most)
    # First the file, then its row: no row ever lacks its file.
    await _put(shop, upload, kind)
    async with shop.write() as tx:
        await queries.lock_file(tx, shop.tenant.id, upload.hash.hex())
        found = await queries.by_hash(tx, shop.tenant.id, upload.hash)
        if found is not None:
            return await _shown(tx, shop, found), False
        # Until now the file had no row, and could have been removed as an orphan.
        await _put(shop, upload, kind)
        media = ids.new_id()
        values = {
            "tenant_id": shop.tenant.id,
            "id": media,
            "hash": upload.hash,
            "content_type": kind.content_type,
            "extension": kind.extension,
            "filename": upload.filename.replace("\x00", "")[-255:],
            "size_bytes": upload.size_bytes,
            "width": kind.width,
            "height": kind.height,
        }
        await tx.insert("media", values)
        if kind.is_image and shop.services.settings.media.image_processing.enabled:
            await queue.defer(tx, RENDER, shop.tenant.id, {"media_id": str(media)})
        return await _shown(tx, shop, media), True


async def _put(shop: Shop, upload: Upload, kind: Kind) -> None:
    """Stores the file unless it is there."""
    objects = shop.services.objects
    path = paths.upload(shop.tenant.id, upload.hash, kind.extension)
    try:
        found = await objects.find(path)
    except Missing:
        found = None
    if found is None or found.size_bytes != upload.size_bytes:
        await objects.put(path, upload.path, kind.content_type, upload.size_bytes)


async def one(shop: Shop, media: UUID) -> bytes:
    """An upload as JSON. Raises NotFound."""
    shop.caller.require(READ)
    async with shop.read() as conn:
        return await _shown(conn, shop, media)


async def _shown(conn: Connection, shop: Shop, media: UUID) -> bytes:
    body = await queries.one(conn, shop.tenant.id, media, shop.media_url)
    if body is None:
        raise _none_such()
    return body


def _none_such() -> NotFound:
    return NotFound("upload not found")


async def page(shop: Shop, page: int | None, per_page: int, cursor: str | None) -> bytes:
    """A page of uploads as JSON, the newest first. Raises Invalid."""
    shop.caller.require(READ)
    window = paging.window(page, per_page, cursor, queries.KEYS)
    async with shop.read() as conn:
        return await queries.page(conn, shop.tenant.id, window, shop.media_url)


async def image(tx: Connection, shop: Shop, media: UUID, field: str) -> Stored:
    """An upload that an image is going to show. Raises Unprocessable."""
    found = await queries.stored(tx, shop.tenant.id, media)
    if found is None or not found.is_image:
        why = "upload not found" if found is None else "is no image"
        raise Unprocessable.field(field, why)
    return found


async def delete(shop: Shop, media: UUID) -> None:
    """Deletes an upload with its files. Raises NotFound, and Conflict if an image uses it."""
    shop.caller.require(WRITE)
    try:
        async with shop.write() as tx:
            digest = await queries.delete(tx, shop.tenant.id, media)
    except ForeignKeyViolation as error:
        raise Conflict(
            "a product image uses this upload; remove the image first", code="in_use"
        ) from error
    if digest is None:
        raise _none_such()
    # If the store is unavailable, the upload is deleted anyway: its files become orphans.
    with contextlib.suppress(Unavailable):
        await remove_files(shop, digest.hex())


async def remove_files(shop: Shop, digest: str) -> int:
    """Removes the files of a deleted upload; returns how many. Raises Unavailable: what remains is
    an orphan, and removed later."""
    objects, gone = shop.services.objects, 0
    async with shop.write() as tx:
        await queries.lock_file(tx, shop.tenant.id, digest)
        if await queries.known(tx, shop.tenant.id, [bytes.fromhex(digest)]):
            return 0  # uploaded again meanwhile
        async for found in objects.list(f"{shop.tenant.id}/{digest}/"):
            for each in found:
                await objects.delete(each.key)
                gone += 1
    return gone


async def start_upload(shop: Shop, new: NewUpload) -> bytes:
    """Where a client may upload directly, as JSON. Raises Unavailable."""
    shop.caller.require(WRITE)
    upload = ids.new_id()
    key = paths.incoming(shop.tenant.id, upload)
    media = shop.services.settings.media
    objects = shop.services.objects
    url = await objects.sign_put(key, UPLOAD_EXPIRES_S)
    expires = int(clock.now()) + UPLOAD_EXPIRES_S
    if url is None:  # a folder: this server receives the file, with the same request
        url = f"/media/{key}?expires={expires}&signature={_signature(shop.services, key, expires)}"
    view = UploadView(
        id=upload,
        method="PUT",
        url=url,
        headers=objects.put_headers
        | ({"Content-Type": new.content_type} if new.content_type else {}),
        max_size_bytes=media.max_upload_mb * 1024 * 1024,
        expires_at=datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    return msgspec.json.encode(UploadAnswer(view))


def may_send(services: Services, key: str, expires: str, signature: str) -> bool:
    """Whether a direct upload to this server, which `start_upload` has signed, is still valid."""
    if not (paths.is_incoming(key) and expires.isdecimal() and int(expires) > clock.now()):
        return False
    return hmac.compare_digest(_signature(services, key, int(expires)), signature)


def _signature(services: Services, key: str, expires: int) -> str:
    secret = services.jwt_secret.encode()
    return hmac.new(secret, f"upload:{key}:{expires}".encode(), sha256).hexdigest()


async def complete_upload(shop: Shop, upload: UUID, filename: str) -> tuple[bytes, bool]:
    """Checks and stores a file that was uploaded directly, like `add`. It may be repeated.

    Raises NotFound if nothing was uploaded, TooLarge, Unprocessable.
    """
    shop.caller.require(WRITE)
    objects, media = shop.services.objects, shop.services.settings.media
    key = paths.incoming(shop.tenant.id, upload)
    try:
        reading = await objects.read(key)
        async with received(reading.chunks, "", media.max_upload_mb) as file:
            file.filename = filename
            return await add(shop, file)
    except Missing as error:
        raise NotFound("no file was sent for this upload, or it has expired") from error
    except (TooLarge, Unprocessable):
        await objects.delete(key)
        raise


async def orphans(shop: Shop, found: Sequence[Found], now: datetime) -> list[Found]:
    """A shop's files that are a day old and have no upload."""
    names = [
        (each, paths.parsed(each.key)) for each in found if now - each.modified_at > ORPHAN_AGE
    ]
    digests = {bytes.fromhex(name.hash) for _, name in names if name is not None}
    async with shop.read() as conn:
        known = await queries.known(conn, shop.tenant.id, list(digests))
    return [
        each
        for each, name in names
        if (bytes.fromhex(name.hash) not in known if name else paths.is_incoming(each.key))
    ]


async def remove_orphan(shop: Shop, orphan: Found) -> None:
    """Removes such a file, with the others of its upload, unless it has an upload by now."""
    name = paths.parsed(orphan.key)
    if name is None:
        await shop.services.objects.delete(orphan.key)
    else:
        await remove_files(shop, name.hash)


async def all_orphans(services: Services) -> AsyncIterator[tuple[Shop, list[Found]]]:
    """The orphans of every shop, a few at a time. Raises Unavailable."""
    now = clock.today()
    async for found in services.objects.list():
        of_tenants: dict[UUID, list[Found]] = defaultdict(list)
        for each in found:
            if (owner := paths.tenant_of(each.key)) is not None:
                of_tenants[owner].append(each)
        for tenant_id, its in of_tenants.items():
            try:
                tenant = await services.tenants.by_id(tenant_id)
            except (NotFound, Forbidden):  # of another installation, or too recent
                continue
            shop = Shop(services, tenant, SWEEP)
            if left := await orphans(shop, its, now):
                yield shop, left
