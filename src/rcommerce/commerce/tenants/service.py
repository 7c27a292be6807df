"""Tenants: which shop a request is for, and the API keys of each."""

import hmac
import secrets
import string
import time
from uuid import UUID

from rcommerce import ids, money
from rcommerce.commerce.shop import SCOPES, Caller, Tenant
from rcommerce.commerce.tenants import queries
from rcommerce.database import Connection, Database
from rcommerce.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated

REMEMBERED_S = 5.0  # how long a process may go on with what it knows of a tenant
REMEMBERED = 10_000  # tenants and host names at most
_LETTERS = string.ascii_letters + string.digits


class Directory:
    """Finds the tenant of a request, remembering for `REMEMBERED_S` what it found."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[UUID | str, tuple[float, Tenant | None]] = {}

    async def by_id(self, tenant_id: UUID) -> Tenant:
        """The tenant of this id. Raises NotFound, or Forbidden where it is suspended."""
        return _open(await self._find(tenant_id))

    async def by_host(self, host: str) -> Tenant:
        """The tenant that answers to this host name, else the default one."""
        return _open(await self._find(host))

    async def _find(self, key: UUID | str) -> Tenant | None:
        found = self._known.get(key)
        now = time.monotonic()
        if found is not None and found[0] > now:
            return found[1]
        async with self._database.read() as conn:
            tenant = await (
                queries.by_id(conn, key) if isinstance(key, UUID) else queries.by_host(conn, key)
            )
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = (now + REMEMBERED_S, tenant)
        return tenant


def _open(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise NotFound("there is no such shop", code="tenant_not_found")
    if tenant.status == "suspended":
        raise Forbidden("this shop is suspended", code="tenant_suspended")
    return tenant


async def create(
    conn: Connection, *, slug: str, name: str, currency: str, hosts: list[str]
) -> Tenant:
    """A new shop with one warehouse. Raises Invalid, or Conflict where the slug is taken."""
    if not slug or len(slug) > 255 or any(character in slug for character in " /?#%"):
        raise Invalid.field("slug", "must have 1 to 255 characters and no space, /, ?, # or %")
    tenant = Tenant(ids.new_id(), slug, name, money.currency(currency), "active")
    if not await queries.insert(conn, tenant, hosts, ids.new_id()):
        raise Conflict(f"there is a tenant “{slug}” already", code="duplicate")
    return tenant


async def named(conn: Connection, name: str | None) -> Tenant:
    """The tenant of a slug or id, the default one for None. Raises NotFound."""
    if name is None:
        tenant = await queries.by_host(conn, "")
    elif ids.is_uuid(name):
        tenant = await queries.by_id(conn, UUID(name))
    else:
        tenant = await queries.by_slug(conn, name)
    if tenant is None:
        raise NotFound(f"there is no tenant {name or 'marked as the default'}")
    return tenant


async def by_id(conn: Connection, tenant_id: UUID) -> Tenant | None:
    """The tenant of this id."""
    return await queries.by_id(conn, tenant_id)


async def create_key(
    conn: Connection,
    tenant: Tenant,
    scopes: list[str],
    *,
    name: str = "",
    prefix_length: int = 8,
    secret_length: int = 32,
) -> str:
    """A new key as `ak_<prefix>.<secret>`: shown this once. Raises Invalid for unknown scopes."""
    unknown = sorted(set(scopes) - SCOPES)
    if unknown:
        raise Invalid.field("scopes", f"no such scope: {unknown[0]}; there are {sorted(SCOPES)}")
    if not scopes:
        raise Invalid.field("scopes", "a key needs at least one, such as products:read")
    prefix = "".join(secrets.choice(_LETTERS) for _ in range(prefix_length))
    secret = "".join(secrets.choice(_LETTERS) for _ in range(secret_length))
    await queries.insert_key(
        conn, tenant.id, prefix, ids.token_hash(secret), name, sorted(set(scopes))
    )
    return f"ak_{prefix}.{secret}"


async def authenticate_key(conn: Connection, key: str) -> tuple[UUID, Caller]:
    """The tenant and the caller of an API key. Raises Unauthenticated."""
    prefix, _, secret = key.removeprefix("ak_").partition(".")
    found = await queries.key(conn, prefix)
    # Compared also where there is none, so that the time tells nothing.
    tenant_id, stored, scopes = found or (None, b"", [])
    if not hmac.compare_digest(stored, ids.token_hash(secret)) or tenant_id is None:
        raise Unauthenticated("the API key is not known", code="invalid_api_key")
    return tenant_id, Caller(key=prefix, scopes=frozenset(scopes))
