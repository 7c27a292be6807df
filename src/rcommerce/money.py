"""Money: exact decimals with the digits that ISO 4217 gives each currency.

An amount is a `Decimal` whose exponent is the currency's: 9.90 EUR, 990 JPY, 9.900 KWD. The
database has the same (`numeric`, with a constraint on the scale), so an amount's text is its JSON.
Computed amounts are rounded half to even, once, at the end.
"""

from decimal import ROUND_HALF_EVEN, Decimal

from rcommerce.errors import Invalid

# ISO 4217, list one: the active codes whose minor unit is not two digits.
# `currency_digits` in the migrations has the same; a test compares them.
NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split()
THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND".split()
FOUR_DIGITS = "CLF UYW".split()
DIGITS = {
    **dict.fromkeys(NO_DIGITS, 0),
    **dict.fromkeys(THREE_DIGITS, 3),
    **dict.fromkeys(FOUR_DIGITS, 4),
}
TWO_DIGITS = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD
    CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS
    GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD
    LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB
    PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP
    SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
""".split()
CURRENCIES = frozenset(DIGITS).union(TWO_DIGITS)
LARGEST = Decimal(10) ** 12  # amounts are below this
ZERO = Decimal(0)


def currency(code: str, field: str = "currency") -> str:
    """`code` in upper case; raises Invalid where ISO 4217 has no such active currency."""
    upper = code.upper()
    if upper not in CURRENCIES:
        raise Invalid.field(field, f"“{code}” is not an ISO 4217 currency code, such as EUR")
    return upper


def digits(currency: str) -> int:
    """Decimal digits of the currency's minor unit."""
    return DIGITS.get(currency, 2)


def amount(value: Decimal, currency: str, field: str) -> Decimal:
    """`value` with exactly the currency's digits.

    Raises Invalid if it is negative, not finite, too large, or finer than the currency: amounts in
    requests are never rounded.
    """
    if not value.is_finite() or not 0 <= value < LARGEST:
        raise Invalid.field(field, f"must be an amount of at least 0 and below {LARGEST:f}")
    unit = Decimal(1).scaleb(-digits(currency))
    exact = value.quantize(unit, ROUND_HALF_EVEN)
    if exact != value:
        raise Invalid.field(field, f"{currency} has {digits(currency)} decimal digits")
    return exact


def rounded(value: Decimal, currency: str) -> Decimal:
    """`value` rounded half to even to the currency's digits: for computed amounts."""
    return value.quantize(Decimal(1).scaleb(-digits(currency)), ROUND_HALF_EVEN)
