"""Access tokens: JWTs (RFC 7519) signed with HMAC-SHA256 by the installation's secret."""

import hmac
from hashlib import sha256
from typing import Any
from uuid import UUID

import jwt

from rcommerce import clock, ids
from rcommerce.commerce.shop import Caller, Proof
from rcommerce.errors import Unauthenticated

ALGORITHM = "HS256"


def issue(secret: str, tenant: UUID, customer: UUID, role: str, version: int, hours: int) -> str:
    """A token for `hours` hours; `version` is the customer's: raising it revokes the token."""
    now = int(clock.now())
    claims = {
        "sub": str(customer),
        "tid": str(tenant),
        "role": role,
        "ver": version,
        "iat": now,
        "exp": now + hours * 3600,
        "jti": str(ids.new_id()),
    }
    return jwt.encode(claims, secret, ALGORITHM)


def read(secret: str, token: str) -> tuple[UUID, Caller]:
    """The tenant and the caller of a token. Raises Unauthenticated."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            options={
                "require": ["sub", "tid", "role", "exp", "jti"],
                # Not these two by this machine's clock, which may differ from the issuer's.
                "verify_exp": False,
                "verify_iat": False,
            },
        )
        customer, tenant = UUID(claims["sub"]), UUID(claims["tid"])
        proof = Proof(int(claims.get("ver", 0)), UUID(claims["jti"]), float(claims["exp"]))
    except (jwt.InvalidTokenError, ValueError) as error:
        raise Unauthenticated("the token is not valid", code="invalid_token") from error
    if proof.expires_at <= clock.now():
        raise Unauthenticated("the token has expired", code="token_expired")
    return tenant, Caller(customer_id=customer, is_staff=claims["role"] == "staff", proof=proof)


def order_token(secret: str, order: UUID) -> str:
    """The token of a guest's order: derived, so that a repeated checkout returns the same."""
    return hmac.new(secret.encode(), b"order:" + order.bytes, sha256).hexdigest()


def opens_order(secret: str, order: UUID, token: str) -> bool:
    """Whether `token` is that order's."""
    return hmac.compare_digest(order_token(secret, order).encode(), token.encode())
