"""What a page of docs/ tells its reader to do first works as it stands, in an empty folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Running, picture

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Where the first commands are run by another test, or start what the tests have started.
ELSEWHERE = {
    "fleet.md": "tests/topology/test_lab.py starts, breaks and stops a fleet",
    "scaling/README.md": "make install is what these tests run in",
    "scaling/1-start-small.md": "the shop of these tests is such a server",
}
# What the text says that comes out in the end.
ENDS = {"pricing.md": '"total":"52.20","amount_due":"27.20","currency":"USD"}'}
NEEDS_A_SHOP = re.compile("[Ww]ith a shop running|on a running shop")


def first_commands(page: Path) -> tuple[str, str]:
    """The text before the first block of commands, and the block."""
    before, _, rest = page.read_text("utf-8").partition("```sh\n")
    return before, rest.partition("```")[0]


PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if first_commands(page)[1] and str(page.relative_to(DOCS)) not in ELSEWHERE
]


def test_each_page_begins_with_commands() -> None:
    without = {page.name for page in DOCS.rglob("*.md") if not first_commands(page)[1]}
    assert without == {"README.md", "9-best-practices.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_first_commands_of_a_page_work(
    embedded_shop: Running, page: Path, tmp_path: Path
) -> None:
    before, block = first_commands(page)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("RCOMMERCE_")
    }
    if NEEDS_A_SHOP.search(before):
        environment = dict(embedded_shop.server.environment)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    (tmp_path / "shirt.jpg").write_bytes(picture())
    shutil.copy(ROOT / "tests" / "data" / "shopify-today.csv", tmp_path / "products_export.csv")
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail"],
        input=block.replace("http://127.0.0.1:8080", embedded_shop.server.url),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    shown = f"{block}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, shown
    assert "about:blank" not in done.stdout, shown  # no problem of the API
    assert done.stdout.rstrip().endswith(ENDS.get(page.name, "")), shown
