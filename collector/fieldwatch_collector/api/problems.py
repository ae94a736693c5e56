"""Errors as RFC 9457 problem documents: `{type, title, status, detail}` with the type application/problem+json."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fieldwatch_proto.logs import get_logger
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from fieldwatch_collector.accounts import AccountError, LinkError, LoginError, TooManyAttemptsError
from fieldwatch_collector.commands import NotAllowed
from fieldwatch_collector.read_model import BadRequest, NotFound
from fieldwatch_collector.store import StoreError

MEDIA_TYPE = "application/problem+json"

log = get_logger(__name__)


class Problem(BaseModel):
    """RFC 9457. `detail` is one line for people: what was seen, and what mends it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""


RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "What was wrong with the request",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    },
}


class Refusal(HTTPException):
    """An answer other than success, raised by endpoints and dependencies."""


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The document of one error."""
    body = Problem(title=http.HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        phrase = http.HTTPStatus(error.status_code).phrase
        detail = error.detail if error.detail != phrase else f"{request.method} {request.url.path}: {phrase.lower()}"
        return problem(error.status_code, detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(400, "; ".join(_line(one) for one in error.errors()[:5]))

    @app.exception_handler(BadRequest)
    async def unanswerable(request: Request, error: BadRequest) -> JSONResponse:
        return problem(400, str(error))

    @app.exception_handler(NotFound)
    async def no_such_thing(request: Request, error: NotFound) -> JSONResponse:
        return problem(404, str(error))

    @app.exception_handler(NotAllowed)
    async def not_for_this_role(request: Request, error: NotAllowed) -> JSONResponse:
        return problem(403, str(error))

    @app.exception_handler(AccountError)
    async def not_an_account(request: Request, error: AccountError) -> JSONResponse:
        if isinstance(error, TooManyAttemptsError):
            return problem(429, str(error), {"Retry-After": str(error.retry_after_s)})
        if isinstance(error, LoginError):
            return problem(401, str(error))
        return problem(403 if isinstance(error, LinkError) else 400, str(error))

    @app.exception_handler(StoreError)
    async def not_now(request: Request, error: StoreError) -> JSONResponse:
        return problem(503, str(error))

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> JSONResponse:
        log.error("a request failed", method=request.method, path=request.url.path, problem=type(error).__name__)
        return problem(500, "the collector could not answer; its log says why")


def _line(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"] if part not in ("query", "body", "path"))
    return f"{place}: {error['msg'].lower()}" if place else error["msg"]
