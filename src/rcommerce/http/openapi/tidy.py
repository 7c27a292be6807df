"""Turns what the framework generates into a document that client generators expect."""

import json
from typing import Any

Node = dict[str, Any]


def paths(found: dict[str, Node]) -> dict[str, Node]:
    """Merges paths that differ only in a parameter's name, such as `/products/{key}` and
    `/products/{product_id}`: they are the same (OpenAPI 3.1, Paths Object). Sorted, since the
    framework's order differs between processes, and one document has one ETag."""
    merged: dict[str, Node] = {}
    by_shape: dict[str, str] = {}
    # The names of ids are kept.
    for path, item in sorted(found.items(), key=lambda each: ("{key}" in each[0], each[0])):
        shape = "/".join("{}" if part.startswith("{") else part for part in path.split("/"))
        kept = by_shape.setdefault(shape, path)
        _rename(item, path, kept)
        merged.setdefault(kept, {}).update(item)
    return dict(sorted(merged.items()))


def _rename(item: Node, path: str, kept: str) -> None:
    names = {
        old[1:-1]: new[1:-1]
        for old, new in zip(path.split("/"), kept.split("/"), strict=True)
        if old != new
    }
    for operation in item.values():
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                parameter["name"] = names.get(parameter["name"], parameter["name"])


def operation(node: Node) -> None:
    """An optional parameter or body is not null: it is absent."""
    for parameter in node.get("parameters", []):
        parameter["schema"] = _without_null(parameter["schema"])
    for media in node.get("requestBody", {}).get("content", {}).values():
        schema = _without_null(media["schema"])
        if schema is not media["schema"]:
            node["requestBody"]["required"] = False
            media["schema"] = schema


def _without_null(schema: Node) -> Node:
    choices = schema.get("oneOf")
    if choices is None or {"type": "null"} not in choices:
        return schema
    left = [each for each in choices if each != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "oneOf"}
    return {**left[0], **rest} if len(left) == 1 else {"oneOf": left, **rest}


def schemas(node: Any) -> None:
    """In place: removes choices of one; merges a simple type and null into one schema; money is a
    string, though JSON numbers are accepted too."""
    if isinstance(node, list):
        for each in node:
            schemas(each)
    elif isinstance(node, dict):
        for each in node.values():
            schemas(each)
        if node.get("format") == "decimal":
            node["type"] = "string"
        _simplify(node)


def _simplify(node: Node) -> None:
    choices = node.get("oneOf")
    if not isinstance(choices, list):
        return
    left = [each for each in choices if each != {"type": "null"}]
    is_nullable = len(left) < len(choices)
    if len(left) != 1 or (is_nullable and not isinstance(left[0].get("type"), str)):
        return
    del node["oneOf"]
    node.update({**left[0], **node})
    if is_nullable:
        node["type"] = [node["type"], "null"]
        if "enum" in node:
            node["enum"] = [*node["enum"], None]


def defaults(schemas: dict[str, Node]) -> None:
    """In place: moves a request field's default to its description. Generators of types treat a
    field with a `default` as always present, in requests too."""
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if not isinstance(field, dict) or "default" not in field:
                continue
            value = field.pop("default")
            if value not in ("", None, [], {}):
                text = field.get("description", "").rstrip(".")
                text = f"{text}. " if text else ""
                field["description"] = f"{text}Default: {json.dumps(value)}"
