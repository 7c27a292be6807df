"""Reads SQL as PostgreSQL does, and finds tenants' tables that are touched without their tenant.

A table is bound where its tenant_id is set equal to a parameter, or to the tenant_id of something
that is bound itself: another table, a common table expression, the row of `tenant_placement` that a
sweep goes over.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pglast import ast as pg
from pglast import parse_sql

TENANT = "tenant_id"
# What a sweep goes over, tenant by tenant; and the rows that a trigger has of its statement.
SOURCES = {"tenant_placement", "new_rows", "old_rows"}


@dataclass
class Scope:
    """One level of a query: what its names mean."""

    owned: dict[str, str] = field(default_factory=dict)  # alias → a tenants' table
    bound: set[str] = field(default_factory=set)  # aliases whose tenant_id is known to be right
    equal: list[tuple[str, str]] = field(default_factory=list)  # of two aliases
    outer: "Scope | None" = None

    def knows(self, alias: str) -> bool:
        return alias in self.owned or alias in self.bound

    def is_bound(self, alias: str) -> bool:
        if alias in self.bound:
            return True
        return self.outer is not None and alias not in self.owned and self.outer.is_bound(alias)

    def settle(self) -> None:
        """What is equal to something bound is bound."""
        changed = True
        while changed:
            changed = False
            for a, b in self.equal:
                for one, other in ((a, b), (b, a)):
                    if self.is_bound(one) and other in self.owned and other not in self.bound:
                        self.bound.add(other)
                        changed = True


class Checker:
    """`faults` has the tables of one statement that are not bound."""

    def __init__(
        self, tables: Iterable[str], sources: Iterable[str] = ("tenant_placement",)
    ) -> None:
        self._tables = set(tables)
        self._sources = set(sources)
        self.touched: set[str] = set()

    def faults(self, statement: str) -> list[str]:
        """Raises pglast.parser.ParseError for what is no SQL."""
        found: list[str] = []
        for raw in parse_sql(statement):
            found += self._statement(raw.stmt, None, set())
        return found

    def _statement(self, node: Any, outer: Scope | None, ctes: set[str]) -> list[str]:
        found: list[str] = []
        names = set(ctes)
        with_clause = getattr(node, "withClause", None)
        for cte in getattr(with_clause, "ctes", ()):
            if getattr(with_clause, "recursive", False):
                names.add(cte.ctename)
            found += self._statement(cte.ctequery, outer, names)
            names.add(cte.ctename)
        if _is(node, "CopyStmt") and node.relation is not None:
            return self._copy(node)
        if isinstance(node, pg.SelectStmt) and node.larg is not None:
            for side in (node.larg, node.rarg):
                found += self._statement(side, outer, names)
        elif isinstance(node, pg.SelectStmt | pg.UpdateStmt | pg.DeleteStmt | pg.InsertStmt):
            found += self._level(node, outer, names)
        return found

    def _level(self, node: Any, outer: Scope | None, names: set[str]) -> list[str]:
        found: list[str] = []
        scope = Scope(outer=outer)
        if isinstance(node, pg.InsertStmt):
            found += self._insert(node)
            if node.selectStmt is not None:
                found += self._statement(node.selectStmt, outer, names)
            scope.bound.add(_alias(node.relation))
        elif not isinstance(node, pg.SelectStmt):
            self._relation(node.relation, scope, names)
        sources = getattr(node, "fromClause", None) or getattr(node, "usingClause", None) or ()
        inner: list[Any] = []
        for source in sources:
            self._source(source, scope, names, inner)
        self._conditions(getattr(node, "whereClause", None), scope)
        scope.settle()
        for each in inner:
            found += self._statement(each.subquery, scope if each.lateral else outer, names)
        found += [table for alias, table in scope.owned.items() if alias not in scope.bound]
        for child in _subqueries(node):
            found += self._statement(child, scope, names)
        return found

    def _copy(self, node: Any) -> list[str]:
        name = node.relation.relname
        if name not in self._tables:
            return []
        self.touched.add(name)
        return [] if TENANT in [column.sval for column in node.attlist or ()] else [name]

    def _insert(self, node: Any) -> list[str]:
        name = node.relation.relname
        if name not in self._tables:
            return []
        self.touched.add(name)
        return [] if TENANT in [column.name for column in node.cols or ()] else [name]

    def _relation(self, node: Any, scope: Scope, ctes: set[str]) -> None:
        alias = _alias(node)
        if node.relname in ctes or node.relname in SOURCES:
            scope.bound.add(alias)
        elif node.relname in self._tables:
            self.touched.add(node.relname)
            scope.owned[alias] = node.relname

    def _source(self, node: Any, scope: Scope, ctes: set[str], inner: list[Any]) -> None:
        """What stands in FROM; the queries there are left to `inner`, for when all is known."""
        if _is(node, "RangeVar"):
            self._relation(node, scope, ctes)
        elif _is(node, "JoinExpr"):
            self._source(node.larg, scope, ctes, inner)
            self._source(node.rarg, scope, ctes, inner)
            self._conditions(node.quals, scope)
            if TENANT in [column.sval for column in node.usingClause or ()]:
                sides = [*_aliases(node.larg), *_aliases(node.rarg)]
                scope.equal += [(sides[0], side) for side in sides[1:]]
        else:
            if _is(node, "RangeSubselect"):
                inner.append(node)
            if getattr(node, "alias", None) is not None:
                scope.bound.add(node.alias.aliasname)  # itself is checked inside

    def _conditions(self, node: Any, scope: Scope) -> None:
        """Notes what a condition says of tenants; only what must hold, so not below OR."""
        if node is None:
            return
        if _is(node, "BoolExpr"):
            if node.boolop.name == "AND_EXPR":
                for each in node.args:
                    self._conditions(each, scope)
            return
        if not _is(node, "A_Expr") or node.name[-1].sval != "=":
            return
        left, right = node.lexpr, node.rexpr
        if _is(left, "RowExpr") and _is(right, "RowExpr"):
            for one, other in zip(left.args, right.args, strict=True):
                self._equality(one, other, scope)
        else:
            self._equality(left, right, scope)

    def _equality(self, left: Any, right: Any, scope: Scope) -> None:
        for one, other in ((left, right), (right, left)):
            alias = _tenant_of(one, scope)
            if alias is None:
                continue
            if _is_given(other):
                scope.bound.add(alias)
            elif (known := _tenant_of(other, scope)) is not None:
                scope.equal.append((alias, known))


def _is(node: Any, kind: str) -> bool:
    return type(node).__name__ == kind


def _is_given(node: Any) -> bool:
    """A parameter or a constant, also under a cast; a function's argument named `tenant`."""
    while _is(node, "TypeCast"):
        node = node.arg
    if isinstance(node, pg.ParamRef | pg.A_Const):
        return True
    return _is(node, "ColumnRef") and _names(node) == ["tenant"]


def _names(node: Any) -> list[str | None]:
    return [getattr(part, "sval", None) for part in node.fields]


def _tenant_of(node: Any, scope: Scope) -> str | None:
    """Whose tenant_id a column is: an alias. `tenant.id` and `p.tenant_id` count alike."""
    while _is(node, "TypeCast"):
        node = node.arg
    if not _is(node, "ColumnRef"):
        return None
    parts = _names(node)
    if parts[-1] != TENANT:
        return None
    if len(parts) > 1:
        return str(parts[-2])
    return next(iter(scope.owned), None) or next(iter(scope.bound), None)


def _alias(node: Any) -> str:
    name: str = node.alias.aliasname if node.alias is not None else node.relname
    return name


def _aliases(node: Any) -> Iterator[str]:
    if isinstance(node, pg.JoinExpr):
        yield from _aliases(node.larg)
        yield from _aliases(node.rarg)
    elif isinstance(node, pg.RangeVar):
        yield _alias(node)
    elif getattr(node, "alias", None) is not None:
        yield node.alias.aliasname


def _subqueries(node: Any) -> Iterator[Any]:
    """The queries inside expressions: not those in FROM or WITH, which are looked at by name."""
    for slot in node:
        if slot in ("withClause", "fromClause", "usingClause", "relation", "selectStmt"):
            if slot in ("fromClause", "usingClause"):
                for source in getattr(node, slot, None) or ():
                    yield from _in_joins(source)
            continue
        yield from _below(getattr(node, slot, None))


def _in_joins(node: Any) -> Iterator[Any]:
    if isinstance(node, pg.JoinExpr):
        yield from _below(node.quals)
        yield from _in_joins(node.larg)
        yield from _in_joins(node.rarg)
    elif isinstance(node, pg.RangeFunction):
        yield from _below(node.functions)


def _below(node: Any) -> Iterator[Any]:
    if isinstance(node, pg.SelectStmt):
        yield node
    elif isinstance(node, list | tuple):
        for each in node:
            yield from _below(each)
    elif isinstance(node, pg.Node):
        for slot in node:
            yield from _below(getattr(node, slot, None))


# Whether every statement of the source was seen -----------------------------------------------


def normalized(text: str) -> str:
    """SQL without what differs between the source and what PostgreSQL has noted of it."""
    text = re.sub(r"--[^\n]*", " ", text)
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"'(?:[^']|'')*'", "?", text)
    text = re.sub(r"%\(\w+\)s|%s|\$\d+|\b\d+(?:\.\d+)?\b", "?", text)
    text = re.sub(r"\b(?:true|false|null)\b", "?", text)
    text = re.sub(r"\?(?:::\w+(?:\[\])?)+", "?", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\( ?\?(?: ?, ?\?)* ?,? ?\)", "(?)", text)
    return text.strip().lower()


def _whole(piece: str) -> str:
    """A piece without the quoted text that an f-string goes on with."""
    return piece[: piece.index("'")] if piece.count("'") % 2 else piece


def statements(file: Path) -> Iterator[tuple[str, list[str]]]:
    """(function, its pieces of SQL) of each function in a file that holds any."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = function.body[1:] if ast.get_docstring(function) else function.body
        pieces = [
            normalized(node.value)
            for statement in body
            for node in ast.walk(statement)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        found = [_whole(piece) for piece in pieces]
        found = [piece for piece in found if len(piece) >= 30 and " " in piece]
        sql = [p for p in found if re.search(r"\b(select|insert|update|delete|from|where)\b", p)]
        if sql:
            yield function.name, sql
