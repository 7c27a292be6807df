"""Benchmarks: the shop's throughput or latency, as a ratio to a ceiling measured in the same
run."""
