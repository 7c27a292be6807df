"""Reads SQL as PostgreSQL does, and finds statements that wait for a row and read what it guards.

Under READ COMMITTED a statement that waits for a row's lock goes on with that row as it is now, and
with every other row as it was before the wait (PostgreSQL's manual, 13.2.1). So what another
transaction has done to both is seen by half: an order lacks the line that its cart has got. A row
has to be held by a statement of its own (`Shop.hold`, or a `for update` that reads nothing else).

What a row guards: the rows that refer to it by a foreign key as its parts. An explicit lock is
there to read safely, so beside it nothing else may be read at all.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pglast import ast as pg
from pglast import parse_sql


class Locks:
    """`faults` has the pairs (row that is waited for, table that is read beside it) of a statement.

    `parts` has the tables that refer to each, of the whole database.
    """

    def __init__(self, parts: Mapping[str, set[str]]) -> None:
        self._parts = parts

    def faults(self, statement: str) -> list[tuple[str, str]]:
        """Raises pglast.parser.ParseError for what is no SQL."""
        found = set()
        for raw in parse_sql(statement):
            read = set(_read(raw.stmt))
            for table, is_explicit in _waited_for(raw.stmt):
                if is_explicit:
                    found |= {(table, other) for other in read if other != table}
                else:
                    parts = self._parts.get(table, set()) - {table}
                    found |= {(table, other) for other in read & parts}
        return sorted(found)


def _nodes(node: Any) -> Iterator[Any]:
    if isinstance(node, list | tuple):
        for each in node:
            yield from _nodes(each)
    elif isinstance(node, pg.Node):
        yield node
        for slot in node:
            yield from _nodes(getattr(node, slot, None))


def _written(node: Any) -> list[Any]:
    """What it inserts into, updates, deletes from."""
    kinds = pg.InsertStmt | pg.UpdateStmt | pg.DeleteStmt
    return [each for each in _nodes(node) if isinstance(each, kinds)]


def _read(node: Any) -> set[str]:
    """The tables that it reads. One that it updates or deletes from counts as read: it looks for
    the rows as they were."""
    named = [each.relation for each in _written(node) if isinstance(each, pg.InsertStmt)]
    for each in _nodes(node):
        if isinstance(each, pg.LockingClause):
            named += each.lockedRels or ()
    passed_over = {id(each) for each in named}
    names = {each.ctename for each in _nodes(node) if isinstance(each, pg.CommonTableExpr)}
    return {
        str(each.relname)
        for each in _nodes(node)
        if isinstance(each, pg.RangeVar)
        and each.relname not in names
        and id(each) not in passed_over
    }


def _waited_for(node: Any) -> Iterator[tuple[str, bool]]:
    """(table, whether by FOR UPDATE or its like) of rows whose lock it may wait for."""
    for each in _written(node):
        if not isinstance(each, pg.InsertStmt) or _updates_on_conflict(each):
            yield each.relation.relname, False
    for each in _nodes(node):
        if not isinstance(each, pg.SelectStmt) or not each.lockingClause:
            continue
        aliases = {
            str(table.alias.aliasname if table.alias else table.relname): str(table.relname)
            for table in _nodes(each.fromClause)
            if isinstance(table, pg.RangeVar)
        }
        for lock in each.lockingClause:
            if lock.waitPolicy.name != "LockWaitBlock":
                continue
            for alias in [str(table.relname) for table in lock.lockedRels or ()] or aliases:
                yield aliases[alias], True


def _updates_on_conflict(node: Any) -> bool:
    clause = node.onConflictClause
    return clause is not None and clause.action.name == "ONCONFLICT_UPDATE"
