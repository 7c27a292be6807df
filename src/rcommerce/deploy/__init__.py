"""Files for load balancers, poolers, clusters and monitoring.

The settings file says how each instance behaves, and `fleet.toml` which machines there are. Every
file is rendered from these two, so that no two can contradict each other.
"""
