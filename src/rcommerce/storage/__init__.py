"""Objects: a folder on this machine, or a bucket."""
