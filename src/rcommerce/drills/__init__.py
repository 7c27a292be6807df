"""Drills: break a fleet under load, and check its guarantees."""
