"""The migrations: one SQL file each, run by Alembic.

`sql/NNNN_name.sql` runs in a transaction of its own, and sets its timeouts itself.
`sql/NNNN_name.concurrently.sql` runs outside of one, and has one statement: `create index
concurrently` or `drop index concurrently`, with `if (not) exists`; its timeouts are set here. Old
and new releases run side by side during an upgrade, so a migration only adds; what it replaces is
removed one release later. `make check` lints each with squawk.
"""

import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_INDEX = re.compile(r"create\s+(?:unique\s+)?index\s+concurrently\s+(?:if\s+not\s+exists\s+)?(\w+)")


def run_sql(name: str) -> None:
    """Runs one file of `sql/`."""
    from alembic import op

    script = (HERE / "sql" / name).read_text(encoding="utf-8")
    if not name.endswith(".concurrently.sql"):
        _execute(op.get_bind(), script)
        return
    with op.get_context().autocommit_block():
        # It waits for every older transaction, and blocks nobody.
        for setting in ("lock_timeout = '10min'", "statement_timeout = 0"):
            _execute(op.get_bind(), f"set {setting}")
        if index := _INDEX.search(script.lower()):
            _drop_if_invalid(op.get_bind(), index[1])
        _execute(op.get_bind(), script)


def _execute(bind: Any, script: str) -> None:
    # Without parameters the driver sends the whole script at once, and does not interpret %.
    bind.execution_options(no_parameters=True).exec_driver_sql(script)


def _drop_if_invalid(bind: Any, index: str) -> None:
    """An index whose creation was interrupted remains, invalid, and would block the next
    attempt."""
    found = bind.exec_driver_sql(
        "select 1 from pg_index where indexrelid = to_regclass(%s) and not indisvalid", (index,)
    ).fetchone()
    if found:
        bind.exec_driver_sql(f"drop index concurrently {index}")


def head() -> str:
    """The newest revision, from the file names: needs no import of Alembic."""
    return max(path.stem for path in (HERE / "versions").glob("[0-9]*.py"))
