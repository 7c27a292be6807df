"""A fleet under load, simulated: what autoscaling would have done, and whether it had held."""
