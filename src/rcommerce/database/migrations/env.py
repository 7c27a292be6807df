"""Alembic's entry point: a transaction for each migration. `database.migrate` holds the lock."""

from alembic import context
from sqlalchemy import create_engine, event, pool, text

config = context.config


def run() -> None:
    """Runs the migrations on the connection URL that `database.migrate` has set."""
    engine = create_engine(config.attributes["url"], poolclass=pool.NullPool)

    @event.listens_for(engine, "begin")
    def _(connection: object) -> None:
        # For the transaction only: a session's setting would stay behind in a pooler.
        connection.execute(text("set local lock_timeout = '5s'"))  # type: ignore[attr-defined]
        connection.execute(text("set local statement_timeout = 0"))  # type: ignore[attr-defined]

    with engine.connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


run()
