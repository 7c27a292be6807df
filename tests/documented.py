"""Whether an answer is one that the API's document has for its operation."""

import json
import re
import warnings
from functools import cache
from typing import Any

import httpx

from rcommerce.settings import load


@cache
def document() -> dict[str, Any]:
    """The API's document."""
    with warnings.catch_warnings(action="ignore"):  # the framework's, of its next major release
        from rcommerce.app import api_document

        made: dict[str, Any] = json.loads(api_document(load(None, {}).settings))
    return made


@cache
def _operations() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """The paths of the document as patterns, those without parameters first."""
    found = sorted(document()["paths"].items(), key=lambda each: each[0].count("{"))
    return [
        (re.compile(re.sub(r"\{\w+\}", "[^/?]+", path) + r"(\?.*)?", re.DOTALL), item)
        for path, item in found
    ]


def undocumented(method: str, path: str, answer: httpx.Response) -> str:
    """What the document does not say of this answer; "" where it does."""
    items = (item for pattern, item in _operations() if pattern.fullmatch(path))
    operation = next((item[method.lower()] for item in items if method.lower() in item), None)
    if operation is None:
        return ""  # there is none: it is a 404 or 405
    found = operation["responses"].get(str(answer.status_code))
    if found is None:
        return f"{operation['operationId']}: no {answer.status_code} in the document"
    if answer.status_code < 400:
        return ""
    named = document()["components"]["responses"][found["$ref"].rpartition("/")[2]]
    [media] = named["content"].values()
    code = answer.json()["code"]
    if code in media["schema"]["allOf"][1]["properties"]["code"]["enum"]:
        return ""
    return f"{operation['operationId']}: no {answer.status_code} with {code} in the document"
