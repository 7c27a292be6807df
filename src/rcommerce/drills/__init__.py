"""Drills: what is promised, held against a fleet that is broken under load."""
