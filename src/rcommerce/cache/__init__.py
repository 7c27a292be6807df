"""Answers that are kept, and how they are known to be true: what was read at a position of the
write-ahead log loses against a newer invalidation of one of its tags."""
