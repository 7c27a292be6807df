"""What an operator puts beside the instances: files for balancers, poolers, clusters and monitors.

One settings file says how each instance behaves, `fleet.toml` which machines there are. Every file
is rendered from these two, so that no two of them can contradict each other.
"""
