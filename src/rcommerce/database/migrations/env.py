"""Alembic's entry: one transaction for each migration, under one lock for the whole run."""

from alembic import context
from sqlalchemy import create_engine, pool, text

config = context.config


def run() -> None:
    """Runs the migrations on the connection URL that `database.migrate` has set."""
    engine = create_engine(config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, transaction_per_migration=False)
        with context.begin_transaction():
            # A transaction's lock, as a session's would not hold through a pooler.
            connection.execute(text("select pg_advisory_xact_lock(7261)"))
            connection.execute(text("set local lock_timeout = '5s'"))
            connection.execute(text("set local statement_timeout = 0"))
            context.run_migrations()


run()
