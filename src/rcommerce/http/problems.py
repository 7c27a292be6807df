"""Errors as RFC 9457 problem documents: the one place where they are translated."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import psycopg
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import Send

from rcommerce.database.server import translated
from rcommerce.errors import FieldError, Problem

MEDIA_TYPE = "application/problem+json"
_CODE = "rcommerce.problem"
# msgspec's messages.
UNKNOWN, MISSING = "Object contains unknown field ", "Object missing required field "
log = structlog.get_logger()
AnyRequest = Request[Any, Any, Any]


def document(
    *,
    status: int,
    title: str,
    detail: str,
    code: str,
    instance: str,
    fields: tuple[FieldError, ...] = (),
    extra: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """The members of a problem. `error` repeats the detail, for clients that look there."""
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "error": detail,
        "errors": [{"field": each.field, "message": each.message} for each in fields],
        **(extra or {}),
    }


def note(scope: Any, code: str) -> None:
    """Stores the code of a problem with its request: for metrics and the log."""
    scope[_CODE] = code


def noted(scope: Any) -> str | None:
    """The code of the problem that a request was answered with, if any."""
    code: str | None = scope.get(_CODE)
    return code


def _answer(
    request: AnyRequest, body: dict[str, Any], headers: dict[str, str] | None = None
) -> Response[bytes]:
    note(request.scope, body["code"])
    return Response(
        msgspec.json.encode(body),
        status_code=body["status"],
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def of_problem(request: AnyRequest, error: Problem) -> Response[bytes]:
    """An error of the shop."""
    return _answer(request, *_refusal(error, request.url.path))


def _refusal(error: Problem, path: str) -> tuple[dict[str, Any], dict[str, str]]:
    headers = dict(error.headers)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    body = document(
        status=error.status,
        title=error.title,
        detail=error.detail,
        code=error.code,
        instance=path,
        fields=error.fields,
        extra=error.extra,
    )
    return body, headers


def encoded(error: Problem, path: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers of a problem, for what is refused before the framework sees it."""
    document, named = _refusal(error, path)
    body = msgspec.json.encode(document)
    return body, [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *((name.lower().encode(), value.encode()) for name, value in named.items()),
    ]


async def give(send: Send, error: Problem, path: str, more: Sequence[tuple[bytes, bytes]]) -> None:
    """Sends a problem, with more headers."""
    body, headers = encoded(error, path)
    reported = [*headers, *more]
    await send({"type": "http.response.start", "status": error.status, "headers": reported})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def of_http(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """An error of the framework: a path, a method, or a body that is not as declared."""
    status = error.status_code
    if status >= 500:
        return of_fault(request, error)
    fields = _faults(error) if isinstance(error, ValidationException) else ()
    if fields:
        detail = "; ".join(f"{each.field}: {each.message}" for each in fields)
    else:
        detail = error.detail
    codes = {400: "validation_failed", 404: "not_found", 405: "method_not_allowed"}
    body = document(
        status=status,
        title="Invalid request" if status == 400 else HTTPStatus(status).phrase,
        detail=detail,
        code=codes.get(status, HTTPStatus(status).name.lower()),
        instance=request.url.path,
        fields=fields,
    )
    return _answer(request, body, dict(error.headers or {}))


def _faults(error: ValidationException) -> tuple[FieldError, ...]:
    """The parameters at fault, by the names that the client sent."""
    extra = error.extra if isinstance(error.extra, list) else []
    return tuple(fault(str(each.get("message", "")), str(each.get("key", ""))) for each in extra)


def fault(message: str, path: str) -> FieldError:
    """A validator's message about the place `path`, as an error of a field."""
    message = message.replace("`", "")
    if path == "data":  # the framework's message without a body
        return FieldError("body", "is missing")
    for words, meaning in ((UNKNOWN, "unknown field"), (MISSING, "is missing")):
        if message.startswith(words):
            name = message.removeprefix(words)
            return FieldError(f"{path}.{name}" if path else name, meaning)
    return FieldError(path or "body", message)


def of_database(request: AnyRequest, error: psycopg.Error) -> Response[bytes]:
    """An error of the database: it may be unavailable; a value that passed every check and does not
    fit a column is the client's; everything else is a bug."""
    unavailable = translated(error)
    if unavailable is not None:  # inside a transaction that spans the request
        return of_problem(request, unavailable)
    if isinstance(error, psycopg.DataError):
        log.warning("value_refused_by_database", path=request.url.path, error=str(error))
        body = document(
            status=400,
            title="Invalid request",
            detail="a value is out of range",
            code="validation_failed",
            instance=request.url.path,
        )
        return _answer(request, body)
    return of_fault(request, error)


def of_fault(request: AnyRequest, error: Exception) -> Response[bytes]:
    """A bug: logged in full, and not shown to the client."""
    log.error("unhandled", path=request.url.path, method=request.method, exc_info=error)
    body = document(
        status=500,
        title="Internal error",
        detail="something went wrong here; the log has it under this request's X-Request-ID",
        code="internal_error",
        instance=request.url.path,
    )
    return _answer(request, body)


HANDLERS: dict[Any, Any] = {
    Problem: of_problem,
    HTTPException: of_http,
    psycopg.Error: of_database,
    Exception: of_fault,
}
