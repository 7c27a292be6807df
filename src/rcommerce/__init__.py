"""R Commerce: a headless commerce server that grows from one command on a laptop to a fleet."""

__version__ = "0.1.0"
