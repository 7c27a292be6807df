"""Numbers as spreadsheets write them: "1299.00", "1,299.00", "1.299,00", "1 299,00"."""

import re
from decimal import Decimal

# A space, a narrow space or an apostrophe separates thousands, never decimals.
_SPACED = re.compile(r"(?<=[0-9])[ \u00a0\u202f'’](?=[0-9]{3}(?![0-9]))")
_PLAIN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_POINT = re.compile(
    r"-?[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+|-?[0-9]{1,3}(?:,[0-9]{3}){2,}"
)  # 1,299.00 and 1,299,000
_COMMA = re.compile(
    r"-?[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|-?[0-9]{1,3}(?:\.[0-9]{3}){2,}"
)  # 1.299,00, 1.299.000
_DECIMAL_COMMA = re.compile(r"-?[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})|-?0,[0-9]+")
_AMBIGUOUS = re.compile(r"-?[1-9][0-9]{0,2}[.,][0-9]{3}")


class Ambiguous(ValueError):
    """The number has two readings, which differ by a factor of a thousand."""


def number(text: str, *, has_decimal_commas: bool) -> Decimal:
    """The number in a cell. `has_decimal_commas`: the file may come from a country that uses them,
    and 1.299 may then be 1299.

    Raises Ambiguous; ValueError if it is no number.
    """
    text = _SPACED.sub("", text)
    if _AMBIGUOUS.fullmatch(text) and ("," in text or has_decimal_commas):
        raise Ambiguous(text)
    if _PLAIN.fullmatch(text):
        return Decimal(text)
    if _POINT.fullmatch(text):
        return Decimal(text.replace(",", ""))
    if _COMMA.fullmatch(text):
        return Decimal(text.replace(".", "").replace(",", "."))
    if _DECIMAL_COMMA.fullmatch(text):
        return Decimal(text.replace(",", "."))
    raise ValueError(text)
