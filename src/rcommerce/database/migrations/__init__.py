"""The database's history: one SQL file a step, run by Alembic."""

from pathlib import Path

HERE = Path(__file__).parent


def run_sql(name: str) -> None:
    """Runs one file of `sql/` as it stands."""
    from alembic import op

    # Without parameters the driver sends the whole script at once, and reads no % in it.
    script = (HERE / "sql" / name).read_text(encoding="utf-8")
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(script)


def head() -> str:
    """The newest revision, by the names of the files: known without importing Alembic."""
    return max(path.stem for path in (HERE / "sql").glob("*.sql"))
