"""What the documents tell people to do can be done: settings, commands, links."""

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from deploy_files import SETTINGS
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
PROGRAM = re.compile(r"^(?:\.venv/bin/)?rcommerce (?=[a-z-])")
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]
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


def commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """Every command of ours in the blocks to copy, which is whole, and in the text."""
    text = page.read_text()
    inline = [each for each in re.findall(r"`([^`\n]+)`", text) if "…" not in each]
    shell = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    for line, is_whole in [*((each, False) for each in inline), *((each, True) for each in shell)]:
        begin = PROGRAM.search(line)
        if begin is not None:
            ours = re.split(r"[;&>]| \| ", line[begin.end() :].replace("…", "x"))[0]
            yield shlex.split(ours, comments=True), is_whole


def fault(words: list[str], *, is_whole: bool) -> str:
    """What a command would say of its arguments, in a word; it does nothing."""
    command, left = get_command(app), list(words)
    while left and hasattr(command, "commands"):
        name = left.pop(0)
        if name not in command.commands:
            return "there is no such command"
        command = command.commands[name]
    try:
        if not hasattr(command, "commands"):
            command.make_context(words[0], left)
    except USAGE_ERROR as error:
        if is_whole or type(error).__name__ != "MissingParameter":
            return str(error.format_message())
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_command_is_one_and_has_such_options(page: Path) -> None:
    for words, is_whole in commands(page):
        given = [word for word in words if word not in ("x", "--help")]
        assert not fault(given, is_whole=is_whole), f"rcommerce {shlex.join(words)}"
        names = takewhile(lambda word: not word.startswith("-"), words[2:])
        known = NAMES.get((words[0], words[1] if len(words) > 1 else ""))
        for word in names if known else ():
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
