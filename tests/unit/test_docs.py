"""What the documents tell people to do can be done: settings, commands, links."""

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rcommerce.bench.registry import BENCHMARKS
from rcommerce.cli import app
from rcommerce.deploy.fleet import load_fleet
from rcommerce.deploy.render import TARGETS, render
from rcommerce.drills.registry import DRILLS
from rcommerce.settings import load
from rcommerce.simulation.traces import built_in

ROOT = Path(__file__).parents[2]
GUIDE = sorted((ROOT / "docs" / "scaling").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECRET = {
    "RCOMMERCE_SECURITY__JWT__SECRET": "x" * 32,
    "RCOMMERCE_CDN__API_TOKEN": "what a file has",
}
SETTINGS = """
[server]
drain_delay_secs = 20
[database]
hosts = ["10.0.2.5:6432"]
pooler = "pgbouncer"
direct_hosts = ["10.0.2.10:5432"]
"""
PROGRAM = re.compile(r"^(?:\.venv/bin/)?rcommerce (?=[a-z-])")
# What a command's names are of, by its first two words.
NAMES = {
    ("bench", "run"): {*BENCHMARKS, "all"},
    ("drill", "run"): set(DRILLS),
    ("deploy", "render"): {*TARGETS, "all"},
    ("simulate", "autoscale"): set(built_in(1, 0)),
}


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page.read_text(), re.DOTALL)


def is_fleet(block: str) -> bool:
    return block.startswith("domain")


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.stem)
def test_what_the_guide_has_to_copy_is_taken(tmp_path: Path, page: Path) -> None:
    settings = [each for each in blocks(page, "toml") if not is_fleet(each)]
    for block in settings:
        (tmp_path / "rcommerce.toml").write_text(block)
        load(tmp_path / "rcommerce.toml", SECRET).require_built()
    for block in filter(is_fleet, blocks(page, "toml")):
        # Where a page has no settings, some that fit; a chapter's targets with those of its own.
        text = settings[0] if settings else SETTINGS
        (tmp_path / "rcommerce.toml").write_text(text)
        (tmp_path / "fleet.toml").write_text(block)
        rendered = re.search(r"deploy render ([a-z ]+) --out", page.read_text())
        assert rendered
        assert render(load_fleet(tmp_path / "fleet.toml"), rendered[1].split(), tmp_path / "out")


def commands(page: Path) -> Iterator[list[str]]:
    """Every command of ours in the blocks to copy, and in the text where it is written out."""
    text = page.read_text()
    inline = [each for each in re.findall(r"`([^`\n]+)`", text) if "…" not in each]
    shell = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    for line in [*inline, *shell.splitlines()]:
        begin = PROGRAM.search(line)
        if begin is None:
            continue
        ours = re.split(r"[;&>]| \| ", line[begin.end() :].replace("…", "x"))[0]
        yield shlex.split(ours, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_command_is_one_and_has_such_options(page: Path) -> None:
    for words in commands(page):
        names = list(takewhile(lambda word: not word.startswith("-"), words))
        done = CliRunner().invoke(app, [*names, "--help", *words[len(names) :]])
        assert done.exit_code == 0, f"rcommerce {shlex.join(words)}: {done.output}"
        known = NAMES.get((words[0], words[1] if len(words) > 1 else ""))
        for word in names[2:] if known else ():
            is_open = "." in word or word.isupper()  # a file of one's own, or NAME
            assert is_open or set(word.split("|")) <= (known or set()), f"{words}: {word}"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path) if path else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target
