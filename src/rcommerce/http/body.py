"""A request's body: JSON, strictly of the type that the route declares, in one pass."""

from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from rcommerce.errors import Invalid
from rcommerce.http.problems import fault

# The name of a decoder in a route's options: made once for each route.
DECODER = "decoder"


def decoder(handler: HTTPRouteHandler) -> msgspec.json.Decoder[Any] | None:
    """What reads the bodies of a route; None for one that takes none."""
    declared = handler.parsed_data_field
    return msgspec.json.Decoder(declared.annotation, strict=True) if declared else None


class StrictRequest(Request[Any, Any, State]):
    """A request whose `json` is the declared struct already.

    The framework's own way reads "1" as a number, as it must for a query.
    """

    async def json(self) -> Any:
        """Raises Invalid, which names the field."""
        body = await self.body()
        wanted = self.route_handler.opt.get(DECODER)
        if wanted is None:
            return await super().json()
        try:
            value = wanted.decode(body)
        except msgspec.ValidationError as error:
            reason, _, path = str(error).removesuffix("`").partition(" - at `$")
            wrong = fault(reason, path.removeprefix("."))
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


def _nul(node: Any, path: str) -> str | None:
    """Where a text holds NUL, which PostgreSQL cannot store; None for nowhere."""
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
