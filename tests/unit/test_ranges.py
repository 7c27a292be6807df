"""Ranges of bytes, by the examples of RFC 9110 section 14."""

import pytest

from rcommerce.http.ranges import wanted

TAG = '"v1"'


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("bytes=0-499", range(500)),
        ("bytes=500-999", range(500, 1000)),
        ("bytes=9500-", range(9500, 10000)),
        ("bytes=-500", range(9500, 10000)),
        ("bytes=9900-20000", range(9900, 10000)),
        ("bytes=-20000", range(10000)),
        ("bytes=10000-", range(0)),
        ("bytes=-0", range(0)),
        ("bytes=500-400", None),
        ("bytes=0-1,5-9", None),
        ("items=0-5", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
    ],
)
def test_a_range_is_read_as_the_rfc_has_it(given: str | None, expected: range | None) -> None:
    assert wanted(10_000, given, None, TAG) == expected


def test_a_part_of_another_version_is_not_given() -> None:
    assert wanted(10, "bytes=0-4", TAG, TAG) == range(5)
    assert wanted(10, "bytes=0-4", '"v0"', TAG) is None
