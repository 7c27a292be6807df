"""Telling a content delivery network what is out of date: by the tags of its answers."""
