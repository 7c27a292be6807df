"""Everything that R Commerce refuses, in one tree.

RCommerceError
├── SettingsError            the settings file or the environment is wrong; the start stops
├── StartError               a part that is needed to start is not there
└── Problem                  what a client is told, as an RFC 9457 problem
    ├── Invalid              400  the request is malformed; names the fields
    ├── Unauthenticated      401
    ├── PaymentFailed        402
    ├── Forbidden            403
    ├── NotFound             404  also for what belongs to another tenant
    ├── TooSlow              408  the request itself has not come whole in time
    ├── Conflict             409
    │   ├── OutOfStock       409  names the lines
    │   ├── PriceChanged     409  says what differs, carries the new totals
    │   └── InvalidTransition 409
    ├── Gone                 410  it was, and has become something else
    ├── PreconditionFailed   412  If-Match names an older version
    ├── TooLarge             413
    ├── Unprocessable        422  well formed, refused by a rule
    ├── TooMany              429  with Retry-After
    └── Unavailable          503  with Retry-After

Raise at the place that knows; `rcommerce.http.problems` translates once.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class RCommerceError(Exception):
    """The root of the tree."""


class SettingsError(RCommerceError):
    """A setting is unknown, of a wrong type, contradictory, or asks for a part not built yet."""


class StartError(RCommerceError):
    """Something that the server cannot start without is missing or broken."""


class FieldError:
    """What is wrong with one field of a request."""

    __slots__ = ("field", "message")

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message


class Problem(RCommerceError):
    """A refusal that a client can act on.

    `code` is a stable machine word, `detail` a sentence for people, `extra` further members of
    the problem document (RFC 9457 section 3.2), `headers` what HTTP says of it.
    """

    status: ClassVar[int] = 400
    title: ClassVar[str] = "Bad request"
    default_code: ClassVar[str] = "bad_request"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        fields: Sequence[FieldError] = (),
        extra: Mapping[str, object] | None = None,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.fields = tuple(fields)
        self.extra = dict(extra or {})
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})


class Invalid(Problem):
    """A value that cannot be right, whatever the state of the shop."""

    status, title, default_code = 400, "Invalid request", "validation_failed"

    @classmethod
    def field(cls, name: str, message: str) -> "Invalid":
        """One field's fault: the message says what would be right."""
        return cls(f"{name}: {message}", fields=[FieldError(name, message)])


class Unauthenticated(Problem):
    """No caller, or one whose proof does not hold."""

    status, title, default_code = 401, "Not authenticated", "unauthenticated"


class PaymentFailed(Problem):
    """The gateway refused the payment; the cart is as it was."""

    status, title, default_code = 402, "Payment failed", "payment_failed"


class Forbidden(Problem):
    """The caller is known and lacks the scope."""

    status, title, default_code = 403, "Forbidden", "forbidden"


class NotFound(Problem):
    """There is none, or none that this caller may know of."""

    status, title, default_code = 404, "Not found", "not_found"


class TooSlow(Problem):
    """The client sends its request too slowly (RFC 9110 section 15.5.9)."""

    status, title, default_code = 408, "Request timeout", "request_timeout"


class Conflict(Problem):
    """The state of the shop does not allow it now."""

    status, title, default_code = 409, "Conflict", "conflict"


class OutOfStock(Conflict):
    """Fewer units are left than asked for; `extra["lines"]` names them. Nothing was reserved."""

    title, default_code = "Out of stock", "out_of_stock"


class PriceChanged(Conflict):
    """Not what the buyer was last shown; `extra` says what differs, and has the new summary."""

    title, default_code = "Price changed", "price_changed"


class InvalidTransition(Conflict):
    """The order's state machine has no such step from here."""

    title, default_code = "Invalid transition", "invalid_transition"


class Gone(Problem):
    """It was here, and will not be again."""

    status, title, default_code = 410, "Gone", "gone"


class PreconditionFailed(Problem):
    """If-Match names a version that is no longer the current one (RFC 9110 section 13.1.1)."""

    status, title, default_code = 412, "Precondition failed", "stale_version"


class TooLarge(Problem):
    """The body is larger than `server.limits.max_request_size_mb`."""

    status, title, default_code = 413, "Request too large", "too_large"


class Unprocessable(Problem):
    """Well formed, and refused by a rule of the shop."""

    status, title, default_code = 422, "Unprocessable", "unprocessable"

    @classmethod
    def field(cls, name: str, message: str, code: str | None = None) -> "Unprocessable":
        """One field's fault: the message says what would be right."""
        return cls(f"{name}: {message}", code=code, fields=[FieldError(name, message)])


class TooMany(Problem):
    """The caller has asked more often than the limits allow (RFC 6585 section 4)."""

    status, title, default_code = 429, "Too many requests", "rate_limited"


class Unavailable(Problem):
    """A dependency is unavailable or the instance is too busy; worth another try."""

    status, title, default_code = 503, "Unavailable", "unavailable"

    def __init__(self, detail: str, *, code: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(detail, code=code, retry_after_s=retry_after_s)
