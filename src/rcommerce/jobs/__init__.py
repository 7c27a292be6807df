"""Background jobs: enqueued in a shard's database by the transaction that needs them."""
