"""Simulates a fleet under load: what autoscaling would have done, and whether it would have
held."""
