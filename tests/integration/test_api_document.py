"""The API's document: it has an example of every operation, taken from real calls, and clients can
be generated from it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from api_walk import Recorder, walk
from conftest import Running, other_shop
from documented import document
from rcommerce.http.openapi import EXAMPLES

CLIENTS = Path(__file__).parents[1] / "clients"
RECORD = "RECORD_API_EXAMPLES"  # set: the examples of the document are taken anew


@pytest.fixture(scope="module")
def walked(embedded_shop: Running) -> Recorder:
    found = walk(embedded_shop, *other_shop(embedded_shop, "USD"))
    if os.environ.get(RECORD):
        text = json.dumps(found.examples, indent=1, ensure_ascii=False, sort_keys=True)
        EXAMPLES.write_text(text + "\n", encoding="utf-8")
        document.cache_clear()
    return found


def operations() -> Iterator[dict[str, Any]]:
    for item in document()["paths"].values():
        yield from item.values()


def shape(node: Any) -> Any:
    """The names of its members, all the way down; of a list, those of the first."""
    if isinstance(node, dict):
        return {key: shape(value) for key, value in node.items()}
    if isinstance(node, list):
        return [shape(each) for each in node[:1]]
    return None


def is_like(found: Any, recorded: Any) -> bool:
    """The same members; what either has none of (null, an empty list) may be anything."""
    if isinstance(found, dict) and isinstance(recorded, dict):
        return found.keys() == recorded.keys() and all(
            is_like(found[key], recorded[key]) for key in found
        )
    if isinstance(found, list) and isinstance(recorded, list) and found and recorded:
        return is_like(found[0], recorded[0])
    return True


def test_each_operation_has_the_example_of_a_real_call(walked: Recorder) -> None:
    recorded = json.loads(EXAMPLES.read_text("utf-8"))
    assert recorded.keys() == walked.paths.keys() == walked.examples.keys(), (
        "make it so with: RECORD_API_EXAMPLES=1 .venv/bin/python -m pytest"
        " tests/integration/test_api_document.py"
    )
    for operation, example in walked.examples.items():
        assert example["status"] == recorded[operation]["status"], operation
        assert is_like(shape(example), shape(recorded[operation])), operation


def test_the_examples_are_what_the_schemas_say() -> None:
    whole = document()

    def check(where: str, media: dict[str, Any]) -> None:
        schema = {**media["schema"], "components": whole["components"]}
        faults = list(jsonschema_rs.validator_for(schema).iter_errors(media["example"]))
        assert not faults, f"{where}: {faults[0].message} at {faults[0].instance_path}"

    for operation in operations():
        name = operation["operationId"]
        is_shown = "example" in next(iter(operation["responses"].values())).get("content", {}).get(
            "application/json", {"example": None}
        )
        assert is_shown or name == "applyCoupon", name
        for media in operation.get("requestBody", {}).get("content", {}).values():
            check(f"request of {name}", media)
        for answer in operation["responses"].values():
            for media in answer.get("content", {}).values():
                if "example" in media:
                    check(f"answer of {name}", media)


def test_a_generated_typescript_client_compiles_and_buys(
    embedded_shop: Running, tmp_path: Path
) -> None:
    if not (CLIENTS / "node_modules" / ".lock").exists():
        pytest.skip("npm's packages are missing: make clients")
    embedded_shop.product()
    for name in ("buy.ts", "tsconfig.json", "package.json"):
        (tmp_path / name).write_bytes((CLIENTS / name).read_bytes())
    (tmp_path / "node_modules").symlink_to(CLIENTS / "node_modules")
    (tmp_path / "openapi.json").write_text(json.dumps(document()))

    def run(program: str, *arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "node"), program, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("node_modules/openapi-typescript/bin/cli.js", "openapi.json", "--output", "shop.d.ts")
    run("node_modules/typescript/bin/tsc", "--project", ".")
    bought = json.loads(run("buy.ts", embedded_shop.server.url))
    order = embedded_shop.staff.get(f"/orders/{bought['order']}")["order"]
    assert (bought["status"], order["payment_status"]) == ("paid", "paid")
