"""The database's history: one SQL file a step, run by Alembic.

`sql/NNNN_name.sql` runs in a transaction of its own, and sets its timeouts itself.
`sql/NNNN_name.concurrently.sql` runs outside, and holds one statement: `create index concurrently`
or `drop index concurrently`, with `if (not) exists`; its timeouts are set here. Old and new
releases run beside each other during an upgrade, so a step only adds; what it replaces is taken
away a release later. `make check` reads every step with squawk.
"""

import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_INDEX = re.compile(r"create\s+(?:unique\s+)?index\s+concurrently\s+(?:if\s+not\s+exists\s+)?(\w+)")


def run_sql(name: str) -> None:
    """Runs one file of `sql/` as it stands."""
    from alembic import op

    script = (HERE / "sql" / name).read_text(encoding="utf-8")
    if not name.endswith(".concurrently.sql"):
        _execute(op.get_bind(), script)
        return
    with op.get_context().autocommit_block():
        # It waits for every transaction that is older than itself, and keeps nobody waiting.
        for setting in ("lock_timeout = '10min'", "statement_timeout = 0"):
            _execute(op.get_bind(), f"set {setting}")
        if index := _INDEX.search(script.lower()):
            _drop_if_invalid(op.get_bind(), index[1])
        _execute(op.get_bind(), script)


def _execute(bind: Any, script: str) -> None:
    # Without parameters the driver sends the whole script at once, and reads no % in it.
    bind.execution_options(no_parameters=True).exec_driver_sql(script)


def _drop_if_invalid(bind: Any, index: str) -> None:
    """An index whose making was cut off stays behind, of no use, and in the way of the next try."""
    found = bind.exec_driver_sql(
        "select 1 from pg_index where indexrelid = to_regclass(%s) and not indisvalid", (index,)
    ).fetchone()
    if found:
        bind.exec_driver_sql(f"drop index concurrently {index}")


def head() -> str:
    """The newest revision, by the names of the files: known without importing Alembic."""
    return max(path.stem for path in (HERE / "versions").glob("[0-9]*.py"))
