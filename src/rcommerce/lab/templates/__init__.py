"""The settings files of a fleet, as an operator would write them: docs/fleet.md shows the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent


def rendered(name: str, values: Mapping[str, str], servers: Sequence[str] = ()) -> str:
    """A template with its `@names@` replaced; `@servers@` stands for as many lines as there are.
    Raises KeyError for a name without a value."""
    lines = []
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.strip() == "@servers@":
            indent = line[: -len("@servers@")]
            lines += [f"{indent}{each}" for each in servers]
            continue
        parts = line.split("@")  # the odd ones are names
        lines.append(
            "".join(part if number % 2 == 0 else values[part] for number, part in enumerate(parts))
        )
    return "\n".join(lines) + "\n"
