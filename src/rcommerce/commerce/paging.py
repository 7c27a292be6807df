"""Lists: by cursor (keyset) or by page number. One statement each."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from rcommerce.errors import Invalid

REACHED = 10_000  # rows that pages reach; a cursor reaches all of them
# The count stops so far beyond the page: counting a million rows, or even ten thousand, would cost
# more than the page.
COUNTED = 1_000
RANKED = 1_000  # most rows that are sorted if no index has the order
LEAST_REACH = 64


class Key(msgspec.Struct, frozen=True):
    """A sort order: an SQL expression and its type."""

    sql: str
    type: str
    is_column: bool = True


class Window(msgspec.Struct, frozen=True):
    """The rows of a request: after a cursor, or of a page."""

    per_page: int
    page: int | None
    after: tuple[str, ...] | None

    @property
    def end(self) -> int:
        """The offset of the page's end."""
        return (self.page or 0) * self.per_page

    @property
    def reach(self) -> int:
        """Where the count stops: at least the rows up to the end of the next page. One of few
        numbers, since each makes another statement."""
        return max(LEAST_REACH, 1 << max(self.end, self.per_page).bit_length())

    def params(self) -> dict[str, Any]:
        """The parameters of `list_sql`."""
        return {
            "page": self.page,
            "offset": (self.page - 1) * self.per_page if self.page else 0,
            **{f"after_{number}": value for number, value in enumerate(self.after or ())},
        }


def window(page: int | None, per_page: int, cursor: str | None, keys: Sequence[Key]) -> Window:
    """The page that a request asks for. Raises Invalid."""
    if cursor is not None:
        if page is not None:
            raise Invalid.field("cursor", "cannot be combined with page")
        return Window(per_page, None, _decoded(cursor, keys))
    number = page or 1
    if number * per_page > REACHED:
        raise Invalid.field(
            "page", f"page reaches only the first {REACHED} rows; use meta.next_cursor"
        )
    return Window(per_page, number, None)


def _decoded(cursor: str, keys: Sequence[Key]) -> tuple[str, ...]:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        values = msgspec.json.decode(raw, type=list[str])
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise Invalid.field("cursor", "is not a valid meta.next_cursor") from error
    if len(values) != len(keys) or any("\x00" in value for value in values):
        raise Invalid.field("cursor", "belongs to another list")
    return tuple(values)


def list_sql(
    *,
    name: str,
    table: str,
    where: str,
    row: str,
    keys: Sequence[Key],
    descending: bool,
    window: Window,
    given: str = "",
    ranked: Sequence[str] = (),
    joined: str = "",
    more: str = "",
    also: str = "",
    counting: str = "",
) -> str:
    """The statement of a list: PostgreSQL builds {name: [row, …], meta}.

    `table` has the alias `t` in `where`, `row` and `keys`. The keys must be unique together. If the
    first of them is no column, no index has the order: then at most so many rows are sorted, and
    the others left out. `ranked` are the conditions that find them, instead of `where`: so many
    rows by each. `given` are further common table expressions, for `where` and `keys`. Columns of
    `joined` tables are in `row` as `more` selects them. `also` selects columns of the statement
    itself. `counting` is what is counted instead of the rows, where as many are found with less: a
    from clause, its conditions, and an order that an index has.

    Limits are literals: PostgreSQL assumes that a parameter is a tenth of the table, and therefore
    plans a large list anew each time, which takes as long as running it.
    """
    per_page = window.per_page
    direction = "desc" if descending else "asc"
    columns = ", ".join(f"{key.sql} as key_{number}" for number, key in enumerate(keys))
    order = ", ".join(f"key_{number} {direction}" for number in range(len(keys)))
    after = ""
    # A page counts its list, along the index of its order unless it is a search; a client that
    # follows a cursor knows the total already.
    along = "" if ranked else "order by " + ", ".join(f"{key.sql} {direction}" for key in keys)
    counted = COUNTED * (1 + window.end // COUNTED)
    counting = counting or f"{table} t {joined} where {where} {along}"
    total = f"(select count(*)::int from (select from {counting} limit {counted}) _)"
    if window.after is not None:
        sign = "<" if descending else ">"
        left = ", ".join(key.sql for key in keys)
        right = ", ".join(f"%(after_{number})s::{key.type}" for number, key in enumerate(keys))
        after = f"and ({left}) {sign} ({right})"
        total = "null::int"
    cursor = ", ".join(f"key_{number}::text" for number in range(len(keys)))
    source, columns = f"{table} t {joined} where {where}", f"t.*{more}, {columns}"
    if not keys[0].is_column:
        some = (
            f"(select t.*{more} from {table} t {joined} where {each} limit {RANKED})"
            for each in ranked or [where]
        )
        source = f"({' union all '.join(some)}) t where true"
        columns = columns.replace(more, "", 1)
    return rf"""
        with {given} page as materialized (
            select * from (
                select {columns} from {source} {after} order by {order} limit {window.reach}
            ) _ order by {order} limit {per_page + 1} offset %(offset)s
        ), shown as materialized (
            select * from page order by {order} limit {per_page}
        ), counted as materialized (
            select {total} as total
        ), last as (
            select rtrim(translate(encode(convert_to(json_build_array({cursor})::text, 'UTF8'),
                                          'base64'), E'+/\n', '-_'), '=') as cursor
              from (select * from shown
                     where (select count(*) from page) > {per_page}
                     order by {order} offset {per_page - 1} limit 1) _
        )
        select json_build_object(
            '{name}', coalesce((select json_agg({row} order by {order}) from shown t), '[]'),
            'meta', json_build_object(
                'total', total,
                'total_relation', case when total >= {counted} then 'at_least' else 'exact' end,
                'page', %(page)s::int,
                'per_page', {per_page},
                'total_pages', ceil(total::numeric / {per_page})::int,
                'next_cursor', (select cursor from last)))
               {also}
          from counted
        """
