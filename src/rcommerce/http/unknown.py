"""The message for an unknown name: lists the known ones, most similar first."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

SIMILAR = 0.6  # difflib's default for a close match
LONGEST = 64  # characters of a name that are compared: a client may send any number
_STEPS = re.compile(r"\.(\w+)|\[[^\]]*\]")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for `name`, which is not a known field or parameter (`kind`)."""
    name = name[:LONGEST].lower()
    ratios = {each: SequenceMatcher(None, name, each).ratio() for each in known}
    ordered = sorted(ratios, key=lambda each: (-ratios[each], each))
    if not ordered:
        return f"unknown {kind} (there are none here)"
    near = f' (did you mean "{ordered[0]}"?)' if ratios[ordered[0]] >= SIMILAR else ""
    return f"unknown {kind}{near}; known {kind}s: {', '.join(ordered)}"


def fields_at(declared: Any, path: str) -> list[str]:
    """The field names of the struct at a path such as `.items[0]` within a declared type; empty if
    there is none."""
    kinds = [declared]
    for step in _STEPS.finditer(path):
        kinds = [inner for kind in kinds for inner in _within(kind, step[1])]
    return [
        field.encode_name
        for kind in kinds
        for struct in _plain(kind)
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct)
        for field in msgspec.structs.fields(struct)
    ]


def _within(kind: Any, name: str | None) -> list[Any]:
    """The types of a field, or of the elements if no field is named."""
    found: list[Any] = []
    for each in _plain(kind):
        if name is None:
            found += get_args(each)[-1:]
        elif isinstance(each, type) and issubclass(each, msgspec.Struct):
            fields = msgspec.structs.fields(each)
            found += [field.type for field in fields if field.encode_name == name]
    return found


def _plain(kind: Any) -> list[Any]:
    """The members of a union, without annotations."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _plain(get_args(kind)[0])
    if origin in (Union, UnionType):
        return [each for member in get_args(kind) for each in _plain(member)]
    return [kind]
