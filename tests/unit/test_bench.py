"""The benchmarks' own arithmetic, and the statements that they read from PostgreSQL's log."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rcommerce.bench import open_load, report, statements
from rcommerce.bench.load import get
from rcommerce.bench.registry import BENCHMARKS
from rcommerce.bench.statements import Statement
from rcommerce.errors import StartError

LOG = """\
2026-11-23 23:14:00.000 UTC [1] LOG:  statement: select 'mark'
2026-11-23 23:14:00.001 UTC [2] LOG:  statement: BEGIN
2026-11-23 23:14:00.002 UTC [2] LOG:  execute _pg3_0: insert into cart (id,
\t  token) values ($1, $2)
2026-11-23 23:14:00.002 UTC [2] DETAIL:  Parameters: $1 = '0192aaaa-0000-7000-8000-000000000001', \
$2 = 'it''s'
2026-11-23 23:14:00.003 UTC [2] LOG:  checkpoint starting: time
2026-11-23 23:14:00.004 UTC [2] LOG:  execute <unnamed>: select $1
2026-11-23 23:14:00.004 UTC [2] DETAIL:  Parameters: $1 = NULL
2026-11-23 23:14:00.005 UTC [1] LOG:  statement: select 'mark'
"""


def test_statements_and_their_parameters_are_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text(LOG)
    first, second = statements.recorded(log, "mark")
    assert [each.sql for each in first] == [
        "BEGIN",
        "insert into cart (id,\n  token) values ($1, $2)",
        "select $1",
    ]
    assert first[1].parameters == ("'0192aaaa-0000-7000-8000-000000000001'", "'it''s'")
    assert first[2].parameters == ("NULL",)
    assert second == []


IN_ONE_MESSAGE = """\
2026-11-23 23:14:00.000 UTC [1] LOG:  statement: select 'mark'
2026-11-23 23:14:00.001 UTC [2] LOG:  statement: prepare once_a1 as insert into cart values ($1)
2026-11-23 23:14:00.002 UTC [2] LOG:  statement: begin read write; execute once_a1(\
'01a20dda1b547743b5b1162c1f1d5ccc'::uuid, NULL, 30, 'it''s; a, b',  E'a\\\\b'); commit
2026-11-23 23:14:00.002 UTC [2] DETAIL:  prepare: prepare once_a1 as insert into cart values ($1, \
$2, $3, $4, $5)
2026-11-23 23:14:00.003 UTC [2] LOG:  statement: prepare once_b2 as delete from note where id = $1
2026-11-23 23:14:00.004 UTC [2] LOG:  statement: execute once_a1(1); execute once_b2(2); commit
2026-11-23 23:14:00.004 UTC [2] DETAIL:  prepare: prepare once_a1 as insert into cart values ($1, \
$2, $3, $4, $5)
2026-11-23 23:14:00.005 UTC [1] LOG:  statement: select 'mark'
"""


def test_several_statements_in_one_message_are_told_apart(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text(IN_ONE_MESSAGE)
    first, _ = statements.recorded(log, "mark")
    assert [(each.sql, each.goes_on) for each in first] == [
        ("begin read write", True),
        ("insert into cart values ($1, $2, $3, $4, $5)", True),
        ("commit", False),
        ("insert into cart values ($1, $2, $3, $4, $5)", True),
        ("delete from note where id = $1", True),
        ("commit", False),
    ]
    assert [each.parameters for each in first[3:]] == [("1",), ("2",), ()]
    assert first[1].parameters == (
        "'01a20dda-1b54-7743-b5b1-162c1f1d5ccc'", "NULL", "30", "'it''s; a, b'", r"E'a\\b'"
    )  # fmt: skip


def test_what_a_script_sends_together_is_one_message() -> None:
    script = "\\set v0 1\nselect 1;\n\\startpipeline\nbegin;\ncommit;\n\\endpipeline\n"
    assert (statements.count(script), statements.messages(script)) == (3, 2)


def test_what_came_between_is_in_neither_of_two_that_are_alike() -> None:
    def made(*sql: str) -> list[Statement]:
        return [Statement(each, ()) for each in sql]

    disturbed = made("begin", "select clock", "commit")
    recordings = [disturbed, made("begin", "commit"), disturbed, made("begin", "commit")]
    assert statements.alike(recordings) == (recordings[1], recordings[3])
    with pytest.raises(StartError, match="no two"):
        statements.alike(recordings[:2])


@pytest.mark.parametrize(
    ("values", "ok"), [([50.0, 44.0, 60.0], True), ([44.0, 40.0, 60.0], False)]
)
def test_a_ratio_below_its_bar_is_not_ok(values: list[float], ok: bool) -> None:
    result = report.against("x", "1/s", 0.45, values, [100.0, 100.0, 100.0], {})
    assert result.ok is ok


def test_less_is_better_has_an_upper_bar() -> None:
    assert report.at_most("x", "s", 2.0, [1.0, 1.5, 9.0], {}).ok
    assert not report.at_most("x", "s", 2.0, [3.0, 1.5, 9.0], {}).ok


def test_every_benchmark_says_what_it_measures() -> None:
    assert {"read-cold", "checkout"} <= set(BENCHMARKS)
    assert all(benchmark.about and benchmark.bar for benchmark in BENCHMARKS.values())


def test_a_load_sends_nothing_on_a_connection_that_its_server_may_be_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    class Shop(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.client_address)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        request = open_load.Request("any", get("/"))
        port = server.server_address[1]
        monkeypatch.setattr(open_load, "AT_FIRST", 3)
        monkeypatch.setattr(open_load, "IDLE_S", 0.0)
        load = open_load.run(port, 50, 0.5, 0.0, lambda: request)
        server.shutdown()
    assert load.by_status() == {"204": len(asked)}
    assert len(set(asked)) == len(asked) > 5
