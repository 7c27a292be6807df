"""Between the socket and the domain."""
