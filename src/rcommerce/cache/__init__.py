"""Caches, and how their entries are validated: what was read at a position of the write-ahead log
is stale once one of its tags was invalidated at a later one."""
