"""Request bodies: JSON, strictly of the type that the route declares, decoded in one pass."""

import re
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from rcommerce.errors import FieldError, Invalid
from rcommerce.http.problems import UNKNOWN, fault
from rcommerce.http.unknown import fields_at, unknown

# The key of a route's decoder in its options: made once per route.
DECODER = "decoder"
MOST_WORDS = 64
_ENUM = re.compile(r"Invalid enum value '([A-Z][A-Za-z]*)' - at `\$(.*)`")
# Numbers stay as exact as they were written.
_LOOSE = msgspec.json.Decoder(float_hook=Decimal)


def decoder(handler: HTTPRouteHandler) -> msgspec.json.Decoder[Any] | None:
    """The decoder of a route's bodies; None for a route without."""
    declared = handler.parsed_data_field
    return msgspec.json.Decoder(declared.annotation, strict=True) if declared else None


class StrictRequest(Request[Any, Any, State]):
    """A request whose `json` is the declared struct.

    The framework's own decoding accepts "1" as a number, as it must for a query.
    """

    async def json(self) -> Any:
        """Raises Invalid, which names the field."""
        body = await self.body()
        wanted = self.route_handler.opt.get(DECODER)
        if wanted is None:
            return await super().json()
        try:
            value = _decoded(wanted, body)
        except msgspec.ValidationError as error:
            reason, _, path = str(error).removesuffix("`").partition(" - at `$")
            wrong = fault(reason, path.removeprefix("."))
            if reason.startswith(UNKNOWN):
                name = wrong.field.rpartition(".")[2]
                known = fields_at(wanted.type, path)
                wrong = FieldError(wrong.field, unknown("field", name, known))
            raise Invalid(f"{wrong.field}: {wrong.message}", fields=[wrong]) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"the body is not valid JSON: {error}") from error
        except RecursionError as error:
            raise Invalid("the body is nested too deeply") from error
        if b"\\u0000" in body:
            place = _nul(msgspec.json.decode(body), "")
            if place is not None:
                raise Invalid.field(place or "body", "must not have a NUL character")
        return value


def _decoded(wanted: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """The declared struct; an enumerated word in PascalCase is accepted as its snake_case.

    Such a body is rare, and is decoded a second time. Raises msgspec.ValidationError.
    """
    try:
        return wanted.decode(body)
    except msgspec.ValidationError as error:
        fault = error
    if _ENUM.fullmatch(str(fault)) is None:
        raise fault
    tree = _LOOSE.decode(body)
    for _ in range(MOST_WORDS):
        match = _ENUM.fullmatch(str(fault))
        if match is None:
            raise fault
        _replace(tree, match[2], snake_case(match[1]))
        try:
            return msgspec.convert(tree, wanted.type, strict=True)
        except msgspec.ValidationError as error:
            fault = error
    raise fault


def snake_case(word: str) -> str:
    """InStock becomes in_stock; snake_case stays."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", word).lower()


def _replace(tree: Any, path: str, word: str) -> None:
    """Replaces the word at a path such as .variants[0].inventory_policy."""
    keys = [name or int(number) for name, number in re.findall(r"\.(\w+)|\[(\d+)\]", path)]
    for key in keys[:-1]:
        tree = tree[key]
    tree[keys[-1]] = word


def _nul(node: Any, path: str) -> str | None:
    """The place of a NUL in a text, which PostgreSQL cannot store; None if there is none."""
    if isinstance(node, str):
        return path if "\x00" in node else None
    if isinstance(node, dict):
        places = [(value, f"{path}.{key}".lstrip(".")) for key, value in node.items()]
        places += [(key, path) for key in node]
    elif isinstance(node, list):
        places = [(value, f"{path}[{number}]") for number, value in enumerate(node)]
    else:
        return None
    return next((found for each, at in places if (found := _nul(each, at)) is not None), None)
