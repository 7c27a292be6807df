"""Translates violated constraints into errors of the request."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from psycopg import errors

from rcommerce.errors import Conflict, FieldError, Unprocessable


@contextmanager
def translated(fields: Mapping[str, str]) -> Iterator[None]:
    """Raises Conflict for a duplicate and Unprocessable for a missing reference.

    `fields` maps a constraint's name to the client's field; a violation of any other constraint is
    a bug, and raised unchanged.
    """
    try:
        yield
    except errors.UniqueViolation as error:
        field = fields.get(error.diag.constraint_name or "")
        if field is None:
            raise
        fault = FieldError(field, "already in use")
        raise Conflict(f"{field}: already in use", code="duplicate", fields=[fault]) from error
    except errors.ForeignKeyViolation as error:
        field = fields.get(error.diag.constraint_name or "")
        if field is None:
            raise
        fault = FieldError(field, "one not found")
        raise Unprocessable(f"{field}: not found", fields=[fault]) from error


@contextmanager
def held_by(constraints: Mapping[str, str], code: str) -> Iterator[None]:
    """Raises Conflict if a row cannot be deleted or changed because others refer to it; by the
    constraint's name, what is said about it."""
    try:
        yield
    except errors.ForeignKeyViolation as error:
        says = constraints.get(error.diag.constraint_name or "")
        if says is None:
            raise
        raise Conflict(says, code=code) from error
