"""The files of docs/fleet.md are those that the lab runs on."""

import re
from pathlib import Path

import pytest

from rcommerce.lab.templates import FOLDER, rendered, without_pooler
from rcommerce.settings import load

DOC = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", DOC, re.DOTALL)


def pattern(template: str) -> re.Pattern[str]:
    """What a template may be rendered to."""
    lines = []
    for line in template.splitlines():
        parts = line.split("@")  # the odd ones are names
        found = "".join(re.escape(part) if n % 2 == 0 else ".+?" for n, part in enumerate(parts))
        lines.append(f"{found}\n")
    return re.compile("".join(lines))


@pytest.mark.parametrize("name", ["fleet.toml", "shop.toml"])
def test_the_documented_files_are_the_labs(name: str) -> None:
    wanted = pattern((FOLDER / name).read_text())
    assert any(wanted.fullmatch(block) for block in BLOCKS)


@pytest.mark.parametrize("block", [each for each in BLOCKS if "[server]" in each])
def test_the_documented_settings_are_such(tmp_path: Path, block: str) -> None:
    file = tmp_path / "rcommerce.toml"
    file.write_text(block)
    loaded = load(file, {})
    assert loaded.settings.security.jwt.secret
    loaded.require_built()


def test_without_a_pooler_instances_connect_to_the_servers(tmp_path: Path) -> None:
    names = re.findall("@([^@]+)@", (FOLDER / "fleet.toml").read_text())
    values = {name: f"127.0.0.{number}:5432" for number, name in enumerate(dict.fromkeys(names), 1)}
    values |= {"balancers": "127.0.0.1", "secret": 32 * "s"}
    file = tmp_path / "rcommerce.toml"
    file.write_text(without_pooler(rendered("fleet.toml", values)))
    database = load(file, {}).settings.database
    assert database.pooler == "None"
    assert database.hosts == [values["primary"], values["replica-1"], values["replica-2"]]
    assert [each.hosts for each in database.shards] == [
        [values[f"shard-{n}"]] for n in (1, 2, 3, 4)
    ]
    assert values["pgbouncer"] not in file.read_text()
