"""What keeps a failure where it is: breakers, limits."""
