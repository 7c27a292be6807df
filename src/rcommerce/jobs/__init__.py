"""Jobs: what happens later, put into a shard's queue by the transaction that needs it."""
