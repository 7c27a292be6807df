"""Metrics for Prometheus, heartbeats, and the fleet overview."""
