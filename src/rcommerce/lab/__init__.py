"""Real servers as processes on one machine, for tests, benchmarks and drills."""
