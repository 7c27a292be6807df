"""Requests and responses of customer groups."""

from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from rcommerce.commerce.fields import Input, ListMeta, Name, Paragraph


class NewGroup(Input, kw_only=True):
    """A new group of customers."""

    name: Name
    description: Paragraph = ""


class GroupChange(Input, kw_only=True):
    """Fields of a group to change; others stay."""

    name: Name | UnsetType = UNSET
    description: Paragraph | UnsetType = UNSET


# Responses, for OpenAPI: PostgreSQL builds them.


class GroupView(msgspec.Struct, kw_only=True):
    """A group of customers, for prices and promotions."""

    id: UUID
    name: str
    description: str
    customer_count: int
    created_at: str
    updated_at: str


class GroupAnswer(msgspec.Struct):
    """One group."""

    customer_group: GroupView


class GroupsAnswer(msgspec.Struct):
    """A page of groups."""

    customer_groups: list[GroupView]
    meta: ListMeta


class MemberView(msgspec.Struct, kw_only=True):
    """A customer in a group."""

    customer_id: UUID
    email: str
    added_at: str


class MembersAnswer(msgspec.Struct):
    """A page of a group's customers."""

    customers: list[MemberView]
    meta: ListMeta
