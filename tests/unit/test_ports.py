"""Ports for the lab's servers."""

import socket

from rcommerce.ports import free_port


def test_no_port_is_given_twice_nor_one_that_the_kernel_gives_to_connections() -> None:
    found = [free_port() for _ in range(100)]
    assert len(set(found)) == 100
    assert max(found) < 32_768


def test_a_port_that_is_taken_is_passed_over() -> None:
    wanted = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", wanted))
        taken.listen()
        assert free_port(wanted) != wanted
    assert free_port(wanted) == wanted
