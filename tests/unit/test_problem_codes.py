"""Each code that the shop refuses with is in the API's document, under its status."""

import re
from collections.abc import Iterator
from pathlib import Path

import rcommerce
from rcommerce import errors
from rcommerce.http.openapi.codes import CODES

ROOT = Path(rcommerce.__file__).parent
# A class of the tree of errors is raised with a code of its own.
RAISED = re.compile(r"\b([A-Z]\w+)(?:\.field)?\((?:[^()]|\([^()]*\))*?\bcode=\"(\w+)\"")


def raised() -> Iterator[tuple[str, str]]:
    for path in ROOT.rglob("*.py"):
        yield from RAISED.findall(path.read_text("utf-8"))


def test_every_code_that_is_raised_is_listed_under_its_status() -> None:
    found = set(raised())
    assert len(found) > 50
    for name, code in found:
        problem = getattr(errors, name, None)
        if isinstance(problem, type) and issubclass(problem, errors.Problem):
            assert code in CODES[problem.status], (name, code)
    for problem in vars(errors).values():
        if isinstance(problem, type) and issubclass(problem, errors.Problem):
            codes = CODES.get(problem.status, {})
            assert problem.default_code in codes or problem is errors.Gone, problem
