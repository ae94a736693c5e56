"""Who asks, and whether a write may come from where it comes from.

- A person's browser sends the session cookie; a program sends ``Authorization: Bearer`` with an API token.
- The cookie is HttpOnly and SameSite=Strict. SameSite knows hosts and not ports, so a write (and the WebSocket, which
  reads) must also carry an Origin that is this very host and port; a body must be JSON, which no form can send.
- No Origin at all is no browser: nobody's cookie can be ridden there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from fieldwatch_collector.accounts import Action, Principal, allows
from fieldwatch_collector.accounts.accounts import SESSION_S
from fieldwatch_collector.api.problems import Refusal

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services

_COOKIE = "fieldwatch_session"
# For OpenAPI alone: what they take from the request is not used.
_BEARER = HTTPBearer(auto_error=False, description="an API token: fieldwatch-collector api-token create NAME")
_SESSION = APIKeyCookie(name=_COOKIE, auto_error=False, description="what POST /api/v1/session sets")


def services_of(connection: HTTPConnection) -> Services:
    """The collector's services, as `create_app` was given them."""
    services: Services = connection.app.state.services
    return services


def is_secure(connection: HTTPConnection) -> bool:
    return connection.url.scheme in ("https", "wss")


def cookie_name(connection: HTTPConnection) -> str:
    """Over TLS the name has the prefix with which a browser refuses to take it from anywhere else (RFC 6265bis)."""
    return f"__Host-{_COOKIE}" if is_secure(connection) else _COOKIE


def cookie_of(connection: HTTPConnection) -> str:
    """The session cookie's value; empty where there is none."""
    return connection.cookies.get(cookie_name(connection), "")


def set_cookie(connection: HTTPConnection, response: Response, value: str) -> None:
    response.set_cookie(
        cookie_name(connection),
        value,
        max_age=SESSION_S,
        path="/",
        secure=is_secure(connection),
        httponly=True,
        samesite="strict",
    )


def drop_cookie(connection: HTTPConnection, response: Response) -> None:
    response.delete_cookie(
        cookie_name(connection), path="/", secure=is_secure(connection), httponly=True, samesite="strict"
    )


def bearer_of(connection: HTTPConnection) -> str:
    """The API token of the Authorization header; empty where there is none (RFC 6750)."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def principal_of(connection: HTTPConnection) -> Principal | None:
    """Who asks; blocks. A token counts before a cookie, and a bad one is not made good by a cookie."""
    accounts = services_of(connection).accounts
    token = bearer_of(connection)
    if token:
        return accounts.bearer(token)
    cookie = cookie_of(connection)
    return accounts.session(cookie) if cookie else None


def require(action: Action) -> Callable[..., Principal]:
    """A dependency that gives who asks, or refuses: 401 for nobody, 403 for somebody who may not."""

    def check(
        request: Request, token: Annotated[object, Security(_BEARER)], cookie: Annotated[object, Security(_SESSION)]
    ) -> Principal:
        principal = principal_of(request)
        if principal is None:
            detail = (
                "this API token is unknown or revoked; make one: fieldwatch-collector api-token create NAME"
                if bearer_of(request)
                else "log in at the page, or send an API token: Authorization: Bearer fwa1..."
            )
            raise Refusal(401, detail, {"WWW-Authenticate": "Bearer"})
        if not allows(principal, action):
            raise Refusal(403, f"{principal.name} is {principal.role}, which may not {action}")
        return principal

    return check


def is_same_origin(connection: HTTPConnection) -> bool:
    """Whether the Origin header, where there is one, names the host and port that the request went to."""
    origin = connection.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower()


def same_origin(request: Request) -> None:
    """A dependency of everything that changes something by cookie or gives one."""
    if not is_same_origin(request):
        raise Refusal(403, f"the request comes from {request.headers['origin'][:100]!r}, not from this page")
    if request.method in ("POST", "PUT", "PATCH"):
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise Refusal(415, f"the body is {media_type[:100]!r}; send application/json")


SameOrigin = Depends(same_origin)
