"""Retries are a share of what is asked."""

from rcommerce.resilience.retries import RESERVE, RetryBudget


def test_a_server_that_dies_has_all_its_calls_tried_again_and_an_outage_few() -> None:
    budget = RetryBudget()
    assert all(budget.spend() for _ in range(int(RESERVE)))
    assert not budget.spend()
    retried = 0
    for _ in range(1000):  # each of which fails
        budget.earn()
        retried += budget.spend()
    assert 190 <= retried <= 201
    assert budget.refused == 1 + 1000 - retried


def test_what_was_not_needed_is_not_saved_up_without_end() -> None:
    budget = RetryBudget()
    for _ in range(100_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == RESERVE
