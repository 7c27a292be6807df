"""Purges a content delivery network by tag."""
