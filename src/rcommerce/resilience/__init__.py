"""Fault isolation: circuit breakers, limits, retry budgets."""
