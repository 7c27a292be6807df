"""Benchmarks: what the shop does here, as a ratio to a ceiling that is measured in the same run."""
