"""The shop: one folder a capability, each with the same few files."""
