"""/auth and /customers over HTTP."""

from typing import Annotated
from uuid import UUID

from litestar import Router, delete, get, patch, post, put
from litestar.params import Parameter
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.customers import logins, service
from rcommerce.commerce.customers.schema import (
    AddressAnswer,
    AddressesAnswer,
    CustomerAnswer,
    CustomerChange,
    CustomersAnswer,
    Login,
    Logout,
    Message,
    Refresh,
    Registration,
    ResetConfirmation,
    ResetRequest,
    SavedAddress,
    Session,
    SessionsAnswer,
)
from rcommerce.commerce.parameters import Cursor, IdempotencyKey, Page, PerPage
from rcommerce.commerce.shop import Shop

# Nobody is logged in by a cookie here: it is about to be another one.
NO_SESSION = {"no_session": True}


@post("/register", summary="Register", opt=NO_SESSION, problems="email_taken")
async def register(
    shop: Shop, data: Registration, idempotency_key: IdempotencyKey = None
) -> Session:
    """A new customer, logged in."""
    return await logins.register(shop, data)


@post("/login", status_code=200, summary="Log in", opt=NO_SESSION, problems="invalid_credentials")
async def login(shop: Shop, data: Login) -> Session:
    """Customers and staff."""
    return await logins.login(shop, data)


@post(
    "/refresh",
    status_code=200,
    summary="Refresh tokens",
    opt=NO_SESSION,
    problems="invalid_refresh_token",
)
async def refresh_session(shop: Shop, data: Refresh) -> Session:
    """A refresh token works once. Using it again revokes every token of that login."""
    return await logins.refresh(shop, data.refresh_token)


@post("/logout", status_code=200, summary="Log out")
async def logout(shop: Shop, data: Logout) -> Message:
    """Ends the session of the cookie, the access token sent, and the refresh token's family."""
    await logins.logout(shop, data.refresh_token)
    return Message("Logged out.")


@get("/sessions", summary="List my sessions")
async def list_sessions(shop: Shop) -> SessionsAnswer:
    """Devices logged in by cookie, the latest first."""
    return await logins.sessions_of(shop)


@delete("/sessions/{session_id:str}", summary="End a session")
async def end_session(shop: Shop, session_id: Annotated[str, Parameter(max_length=64)]) -> None:
    """One of the caller's sessions."""
    await logins.end_session(shop, session_id)


@delete("/sessions", summary="Log out everywhere")
async def logout_everywhere(shop: Shop) -> None:
    """Ends every session, access token and refresh token of the caller, including this one."""
    await logins.logout_everywhere(shop)


@post("/password-reset", status_code=202, summary="Request a password reset", opt=NO_SESSION)
async def request_password_reset(shop: Shop, data: ResetRequest) -> Message:
    """Always 202, whether or not the account exists."""
    await logins.request_reset(shop, data.email)
    return Message("If there is such an account, a mail is on its way.")


@post(
    "/password-reset/confirm",
    status_code=200,
    summary="Set a new password",
    opt=NO_SESSION,
    problems="unprocessable",
)
async def confirm_password_reset(shop: Shop, data: ResetConfirmation) -> Message:
    """With the token from the e-mail. Ends every session."""
    await logins.confirm_reset(shop, data.token, data.password)
    return Message("The password is changed.")


@get("/", summary="List customers", responses=answers.documented(CustomersAnswer))
async def list_customers(
    shop: Shop,
    page: Page = None,
    per_page: PerPage = 20,
    cursor: Cursor = None,
    email: Annotated[str | None, Parameter(max_length=254)] = None,
) -> ASGIResponse:
    """All customers for staff (scope customers:read), otherwise the caller."""
    return answers.json(await service.everyone(shop, page, per_page, cursor, email))


@get("/me", summary="Get my account", responses=answers.documented(CustomerAnswer))
async def get_my_account(shop: Shop) -> ASGIResponse:
    """The customer who is logged in."""
    return _customer(await service.me(shop))


@patch("/me", summary="Change my account", responses=answers.documented(CustomerAnswer))
async def update_my_account(shop: Shop, data: CustomerChange) -> ASGIResponse:
    """Changes the fields sent."""
    return _customer(await service.change_me(shop, data))


@get("/{customer_id:uuid}", summary="Get a customer", responses=answers.documented(CustomerAnswer))
async def get_customer(shop: Shop, customer_id: UUID) -> ASGIResponse:
    """The caller, or any customer for staff (scope customers:read)."""
    return _customer(await service.one(shop, customer_id))


def _customer(body: bytes) -> ASGIResponse:
    return answers.json(b'{"customer":' + body + b"}")


@get("/me/addresses", summary="List my addresses", responses=answers.documented(AddressesAnswer))
async def list_my_addresses(shop: Shop) -> ASGIResponse:
    """The default one first."""
    return answers.json(await service.addresses(shop))


@post("/me/addresses", summary="Add an address", responses=answers.documented(AddressAnswer, 201))
async def create_my_address(
    shop: Shop, data: SavedAddress, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """The first address becomes the default."""
    return answers.json(await service.put_address(shop, data, None), 201)


@put(
    "/me/addresses/{address_id:uuid}",
    summary="Replace an address",
    responses=answers.documented(AddressAnswer),
)
async def replace_my_address(shop: Shop, address_id: UUID, data: SavedAddress) -> ASGIResponse:
    """As a whole."""
    return answers.json(await service.put_address(shop, data, address_id))


@delete("/me/addresses/{address_id:uuid}", summary="Delete an address")
async def delete_my_address(shop: Shop, address_id: UUID) -> None:
    """Orders keep their copy."""
    await service.delete_address(shop, address_id)


auth = Router(
    "/auth",
    tags=["Auth"],
    route_handlers=[
        register,
        login,
        refresh_session,
        logout,
        list_sessions,
        end_session,
        logout_everywhere,
        request_password_reset,
        confirm_password_reset,
    ],
)
router = Router(
    "/customers",
    tags=["Customers"],
    route_handlers=[
        list_customers,
        get_my_account,
        update_my_account,
        get_customer,
        list_my_addresses,
        create_my_address,
        replace_my_address,
        delete_my_address,
    ],
)
