"""Requests and responses of /media."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import Input, Line, ListMeta


class NewUpload(Input, kw_only=True):
    """A file that the client is going to upload directly."""

    filename: Line = ""
    content_type: Annotated[str, Meta(max_length=100, examples=["image/jpeg"])] = ""


class Complete(Input, kw_only=True):
    """A direct upload that is complete."""

    filename: Line = ""


class RenditionView(msgspec.Struct, kw_only=True):
    """An image in another size; a URL for each format that exists."""

    width: int
    height: int
    webp: str | UnsetType = UNSET
    avif: str | UnsetType = UNSET


class MediaView(msgspec.Struct, kw_only=True):
    """An upload. `url` always returns exactly these bytes; renditions follow a moment later."""

    id: UUID
    url: str
    content_type: str
    filename: str
    size_bytes: int
    width: int | None
    height: int | None
    is_processed: bool
    renditions: dict[str, RenditionView]
    created_at: str


class MediaAnswer(msgspec.Struct):
    """One upload."""

    media: MediaView


class MediaListAnswer(msgspec.Struct):
    """A page of uploads."""

    media: list[MediaView]
    meta: ListMeta


class UploadView(msgspec.Struct, kw_only=True):
    """Where to upload directly: with this method to this URL, with these headers, before it
    expires; then call /media/uploads/{id}/complete."""

    id: UUID
    method: str
    url: str
    headers: dict[str, str]
    max_size_bytes: int
    expires_at: str


class UploadAnswer(msgspec.Struct):
    """A direct upload."""

    upload: UploadView
