"""Identifiers and order states."""

import os
from datetime import date
from uuid import uuid4

import pytest

from rcommerce import ids
from rcommerce.commerce import versions
from rcommerce.commerce.customers import tokens
from rcommerce.commerce.orders import states
from rcommerce.errors import InvalidTransition, PreconditionFailed, Unauthenticated


def test_new_ids_sort_by_their_time() -> None:
    made = [ids.new_id() for _ in range(100)]
    assert made == sorted(made)
    assert made[0].version == 7


def test_an_order_number_reads_out_and_repeats_not() -> None:
    numbers = {ids.order_number(date(2026, 11, 23)) for _ in range(1000)}
    assert len(numbers) == 1000
    assert all(number.startswith("261123-") and len(number) == 15 for number in numbers)


def test_a_token_of_another_secret_tells_nothing() -> None:
    tenant, customer = uuid4(), uuid4()
    token = tokens.issue("a" * 32, tenant, customer, "customer", 0, 1)
    assert tokens.read("a" * 32, token)[1].customer_id == customer
    with pytest.raises(Unauthenticated):
        tokens.read("b" * 32, token)
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.read("a" * 32, tokens.issue("a" * 32, tenant, customer, "customer", 0, -1))


def test_only_stated_transitions_are_possible() -> None:
    states.require(states.STATUS, "pending", "confirmed")
    with pytest.raises(InvalidTransition, match="cannot become"):
        states.require(states.STATUS, "completed", "pending")
    for machine in (states.STATUS, states.PAYMENT, states.FULFILLMENT):
        assert all(then in machine for steps in machine.values() for then in steps)


def test_if_match_compares_versions() -> None:
    tag = versions.etag("3", b"body")
    versions.check(tag, 3, "it")
    versions.check("*", 9, "it")
    versions.check(None, 9, "it")
    with pytest.raises(PreconditionFailed):
        versions.check(tag, 4, "it")


def test_names_differ_also_in_a_process_that_was_forked() -> None:
    names = {ids.new_name() for _ in range(1000)}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(ids.new_name() for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    reported = os.read(reading, 100_000)
    others = {reported[at : at + 24] for at in range(0, len(reported), 24)}
    assert len(names) == 1000
    assert len(others) == 100
    assert not names & others
    assert all(len(name) == 24 for name in names)
