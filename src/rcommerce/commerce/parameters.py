"""Parameters of the routes that several capabilities share."""

from typing import Annotated

from litestar.params import Parameter

from rcommerce.commerce.paging import REACHED

Page = Annotated[int | None, Parameter(ge=1, le=REACHED, description="from 1; or use cursor")]
PerPage = Annotated[int, Parameter(ge=1, le=100)]
Cursor = Annotated[str | None, Parameter(max_length=4000, description="meta.next_cursor")]
IfMatch = Annotated[
    str | None,
    Parameter(header="If-Match", max_length=1000, description="the ETag that was read"),
]
IfNoneMatch = Annotated[str | None, Parameter(header="If-None-Match", max_length=1000)]
OrderToken = Annotated[
    str | None,
    Parameter(header="X-Order-Token", max_length=255, description="opens a guest's order"),
]
CartToken = Annotated[
    str | None,
    Parameter(header="X-Cart-Token", max_length=255, description="opens a guest's cart"),
]
IdempotencyKey = Annotated[
    str | None,
    Parameter(
        header="Idempotency-Key",
        description="the same key gives the same answer, for a day; a guest's is a UUID",
    ),
]
CouponCode = Annotated[
    str | None, Parameter(max_length=255, description="a coupon of the cart; without it, all")
]
Channel = Annotated[
    str | None,
    Parameter(max_length=64, description="the channel's slug; or the header X-Channel"),
]
