"""Telling a content delivery network what is stale: by the tags of its answers."""
