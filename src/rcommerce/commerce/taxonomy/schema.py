"""Requests of collections and categories."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import Input, ListMeta, Name, Paragraph, Position, Slug

Products = Annotated[
    list[UUID], Meta(max_length=10_000, description="the products in it, in their order")
]


class NewCollection(Input, kw_only=True):
    """A new collection: products that are shown together."""

    title: Name
    slug: Slug | None = None
    description: Paragraph = ""
    is_active: bool = True
    position: Position = 0
    product_ids: Products = []


class CollectionChange(Input, kw_only=True):
    """Fields of a collection to change; others stay."""

    title: Name | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    description: Paragraph | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    position: Position | UnsetType = UNSET
    product_ids: Products | UnsetType = UNSET


class NewCategory(Input, kw_only=True):
    """A new category: a node of the tree."""

    name: Name
    slug: Slug | None = None
    description: Paragraph = ""
    parent_id: UUID | None = None
    position: Position = 0


class CategoryChange(Input, kw_only=True):
    """Fields of a category to change; others stay."""

    name: Name | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    description: Paragraph | UnsetType = UNSET
    parent_id: UUID | None | UnsetType = UNSET
    position: Position | UnsetType = UNSET


# Responses, for OpenAPI: PostgreSQL builds them.


class CollectionView(msgspec.Struct, kw_only=True):
    """A collection."""

    id: UUID
    title: str
    slug: str
    description: str
    is_active: bool
    position: int
    created_at: str
    updated_at: str


class CollectionAnswer(msgspec.Struct):
    """One collection."""

    collection: CollectionView


class CollectionsAnswer(msgspec.Struct):
    """A page of collections."""

    collections: list[CollectionView]
    meta: ListMeta


class CategoryView(msgspec.Struct, kw_only=True):
    """A category."""

    id: UUID
    parent_id: UUID | None
    name: str
    slug: str
    description: str
    position: int
    created_at: str
    updated_at: str


class CategoryAnswer(msgspec.Struct):
    """One category."""

    category: CategoryView


class CategoryNode(msgspec.Struct, kw_only=True):
    """A category with its descendants."""

    id: UUID
    parent_id: UUID | None
    name: str
    slug: str
    description: str
    position: int
    children: list[dict[str, Any]]


class CategoriesAnswer(msgspec.Struct):
    """The category tree."""

    categories: list[CategoryNode]
