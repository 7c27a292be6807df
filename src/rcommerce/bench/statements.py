"""The statements that the server sends, as scripts for pgbench.

They are read from PostgreSQL's log: nothing in the server is changed for it, and whatever the code
sends tomorrow is measured tomorrow. Two recordings of the same work are compared: a value that
differs between them was generated (an id, a token), and becomes a variable.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from rcommerce.bench.setup import Bench
from rcommerce.errors import StartError

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PARAMETER = re.compile(r"\$(\d+) = (NULL|'(?:[^']|'')*')")
_ENTRY = re.compile(r"\d{4}-\d\d-\d\d [\d:.]+ \S+ \[\d+\] (\w+):  ")
_MESSAGE = re.compile(r"(?:execute [^:]*|statement): (.*)", re.DOTALL)
# The parts of a message with several statements: literals, which may contain anything, and the
# rest.
_LITERAL = r"(?:\bE'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*')"
_PIECE = re.compile(rf"(?:{_LITERAL}|[^';])+", re.DOTALL)
# It is logged when a connection prepares it, and again beside the first of a message that runs it.
_PREPARE = re.compile(r"^(?:statement: |prepare: )prepare (\w+) as (.*)", re.DOTALL)
_EXECUTE = re.compile(r"execute (\w+)(?:\((.*)\))?", re.DOTALL)
_ARGUMENT = re.compile(rf"\s*({_LITERAL}|[^',\s]+?)(?:::[\w\[\]]+)?\s*(?:,|$)", re.DOTALL)
_PIPELINE = re.compile(r"^\\startpipeline$.*?^\\endpipeline$", re.DOTALL | re.MULTILINE)
_VARIABLE = re.compile(r":(?=\w)")
_COMMENT = re.compile(r"--[^']*$")
_HEX_UUID = re.compile(r"'([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})'")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with its parameters as SQL literals: NULL, a number or a quoted text. `goes_on`:
    the next one was in the same message."""

    sql: str
    parameters: tuple[str, ...]
    goes_on: bool = False


@contextmanager
def logging(bench: Bench) -> Iterator[None]:
    """PostgreSQL logs every statement meanwhile."""
    bench.query("alter system set log_statement = 'all'")
    bench.query("select pg_reload_conf()")
    try:
        yield
    finally:
        bench.query("alter system reset log_statement")
        bench.query("select pg_reload_conf()")


def recorded(log: Path, mark: str) -> list[list[Statement]]:
    """What was logged between consecutive statements that contain `mark`."""
    parts: list[list[Statement]] = []
    prepared: dict[str, str] = {}
    for kind, text in entries(log):
        if match := _PREPARE.search(text):
            prepared[match[1]] = match[2].strip()
        if kind == "DETAIL":
            if parts and parts[-1] and text.startswith("Parameters: "):
                values = tuple(value for _, value in _PARAMETER.findall(text))
                parts[-1][-1] = Statement(parts[-1][-1].sql, values)
        elif match := _MESSAGE.fullmatch(text):
            if mark in match[1]:
                parts.append([])
            elif parts and not match[1].startswith("prepare "):  # once a connection, not each time
                parts[-1] += _of_message(match[1])
    return [[_written_out(each, prepared) for each in part] for part in parts]


def _of_message(text: str) -> list[Statement]:
    texts = [piece.strip() for piece in _PIECE.findall(text)]
    last = len(texts) - 1
    return [Statement(each, (), number < last) for number, each in enumerate(texts)]


def _written_out(statement: Statement, prepared: Mapping[str, str]) -> Statement:
    """An EXECUTE as the statement that it names: `prepared`, by its name."""
    match = _EXECUTE.fullmatch(statement.sql)
    if match is None:
        return statement
    found = _ARGUMENT.findall(match[2] or "")
    values = tuple(_HEX_UUID.sub(r"'\1-\2-\3-\4-\5'", each) for each in found)
    return Statement(prepared[match[1]], values, statement.goes_on)


def alike(recordings: Sequence[list[Statement]]) -> tuple[list[Statement], list[Statement]]:
    """The shortest two recordings of the same statements. Raises StartError if no two agree."""
    by_length = sorted(recordings, key=len)
    for number, one in enumerate(by_length):
        for other in by_length[number + 1 :]:
            if [each.sql for each in one] == [each.sql for each in other]:
                return one, other
    raise StartError("no two recordings of the same work sent the same statements")


def entries(log: Path) -> Iterator[tuple[str, str]]:
    """(LOG, DETAIL, …; the text) of each entry of a PostgreSQL log."""
    kind, lines = "", list[str]()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if begin := _ENTRY.match(line):
            if kind:
                yield kind, "\n".join(lines)
            kind, lines = begin[1], [line[begin.end() :]]
        else:
            lines.append(line.removeprefix("\t"))
    if kind:
        yield kind, "\n".join(lines)


def count(script: str) -> int:
    """How many statements a script sends."""
    return sum(not line.startswith("\\") for line in script.splitlines())


def messages(script: str) -> int:
    """How many messages a script sends: a pipeline is one."""
    return count(_PIPELINE.sub("message", script))


def script(
    dsn: str,
    first: Sequence[Statement],
    second: Sequence[Statement],
    choices: Mapping[str, Sequence[str]],
) -> str:
    """A pgbench script that does what both recordings did, with new values each time.

    `choices` maps an id of the recording to those that replace it in turn, all chosen by the same
    number. The recordings are of the same statements (`alike`).
    """
    fresh: dict[str, str] = {}
    for one, other in zip(first, second, strict=True):
        for value, its in zip(one.parameters, other.parameters, strict=True):
            if value != its:
                _note_fresh(value, its, fresh)
    lines = [rf"\set v{number} random(1, 281474976710655)" for number in range(len(fresh))]
    lines.append(rf"\set choice random(1, {len(next(iter(choices.values())))})")
    for mine, others in choices.items():
        fresh[mine] = f"('{{{','.join(others)}}}'::text[])[:choice]"
    with psycopg.connect(dsn, autocommit=True) as connection:
        is_going_on = False
        for each in first:
            if each.goes_on and not is_going_on:
                lines.append(r"\startpipeline")
            lines.append(_rendered(each, fresh, _types(connection, each)) + ";")
            if is_going_on and not each.goes_on:
                lines.append(r"\endpipeline")
            is_going_on = each.goes_on
    return "\n".join(lines) + "\n"


def _note_fresh(value: str, other: str, fresh: dict[str, str]) -> None:
    """Replaces a generated value by an expression that generates another one."""
    text = value.strip("'")
    uuids = _UUID.findall(text)
    others = _UUID.findall(other)
    if uuids:
        for mine, its in zip(uuids, others, strict=True):
            if mine != its and mine not in fresh:
                number = f"lpad(to_hex(:v{len(fresh)}::bigint), 12, '0')"
                fresh[mine] = f"('00000000-0000-7000-8000-' || {number})"
    elif text not in fresh:
        hashed = f"md5(:v{len(fresh)}::text)"
        fresh[text] = rf"('\x' || {hashed})" if text.startswith("\\x") else hashed


def _types(connection: psycopg.Connection, statement: Statement) -> list[str]:
    """The types of a statement's parameters, as PostgreSQL works them out."""
    if not statement.parameters:
        return []
    with connection.transaction():
        connection.execute(f"prepare asked as {statement.sql}")
        row = connection.execute(
            "select parameter_types::text[] from pg_prepared_statements where name = 'asked'"
        ).fetchone()
        connection.execute("deallocate asked")
    return list(row[0]) if row else []


def _rendered(statement: Statement, fresh: dict[str, str], types: Sequence[str]) -> str:
    """The statement with its parameters in place."""

    def place(match: re.Match[str]) -> str:
        number = int(match[1]) - 1
        value = statement.parameters[number]
        text = value.strip("'")
        if text in fresh:
            return f"({fresh[text]})::{types[number]}"
        inside = [each for each in dict.fromkeys(_UUID.findall(value)) if each in fresh]
        # pgbench takes a word behind a colon for one of its variables, in a literal, too.
        quote = "E'" if value.startswith("E'") else "'"
        expression = _VARIABLE.sub(f":' || {quote}", value)
        if not inside and expression == value:
            return value
        for each in inside:
            expression = f"replace({expression}, '{each}', {fresh[each]})"
        return f"({expression})::{types[number]}"

    flat = " ".join(_COMMENT.sub("", line).strip() for line in statement.sql.splitlines())
    return re.sub(r"\$(\d+)", place, flat)
