"""The settings files of a fleet, as an operator would write them: docs/fleet.md shows the same."""

from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent


def rendered(name: str, values: Mapping[str, str]) -> str:
    """A template with its `@names@` replaced. Raises KeyError for a name without a value."""
    parts = (FOLDER / name).read_text(encoding="utf-8").split("@")  # the odd ones are names
    return "".join(part if number % 2 == 0 else values[part] for number, part in enumerate(parts))


def without_pooler(text: str) -> str:
    """The settings of a fleet whose instances connect to the servers themselves."""
    pooled = ("hosts =", "pooler =", "# Every server that")
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(pooled)]
    return "".join(line.removeprefix("direct_") for line in lines)
