"""/session, /session/link and /setup: how people come in"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from fieldwatch_collector.accounts import Principal
from fieldwatch_collector.api import models
from fieldwatch_collector.api.problems import Refusal
from fieldwatch_collector.api.security import (
    SameOrigin,
    cookie_of,
    drop_cookie,
    principal_of,
    services_of,
    set_cookie,
)

router = APIRouter(tags=["session"])

Text = Annotated[str, Field(max_length=2_000)]


class Login(BaseModel):
    name: Text
    password: Text


class Link(BaseModel):
    secret: Text = Field(description="the part of the one-time link behind the last /")


class Setup(BaseModel):
    secret: Text = Field(description="the part of the set-up link behind the last /")
    name: Text
    password: Text


@router.post("/session", response_model=models.Who, dependencies=[SameOrigin])
def log_in(request: Request, response: Response, login: Login) -> Any:
    """Log in with name and password; the answer sets the session cookie."""
    address = request.client.host if request.client else ""
    return _enter(request, response, services_of(request).accounts.login(login.name, login.password, address))


@router.get("/session", response_model=models.Who, responses={204: {"description": "Nobody is logged in"}})
def who(request: Request, response: Response) -> Any:
    """Who is logged in. Nobody is an answer and no error: a page asks before it knows."""
    principal = principal_of(request)
    if principal is None:
        return Response(status_code=204)
    if principal.kind == "user":
        set_cookie(request, response, cookie_of(request))  # its end moves on, as the session's does
    return _who(principal)


@router.delete("/session", status_code=204, dependencies=[SameOrigin])
def log_out(request: Request) -> Response:
    """Log out; this is no error for who is not logged in."""
    cookie = cookie_of(request)
    if cookie:
        services_of(request).accounts.logout(cookie)
    response = Response(status_code=204)
    drop_cookie(request, response)
    return response


@router.post("/session/link", response_model=models.Who, dependencies=[SameOrigin])
def use_link(request: Request, response: Response, link: Link) -> Any:
    """Log in with a one-time link; it is used up."""
    return _enter(request, response, services_of(request).accounts.redeem_login(link.secret))


@router.get("/setup", response_model=models.SetupState)
def setup_state(request: Request) -> Any:
    """Whether this collector waits for its first account."""
    return {"needed": services_of(request).accounts.needs_setup()}


@router.post("/setup", response_model=models.Who, dependencies=[SameOrigin])
def set_up(request: Request, response: Response, setup: Setup) -> Any:
    """Make the first administrator with the set-up link, and log in."""
    cookie = services_of(request).accounts.complete_setup(setup.secret, setup.name, setup.password)
    return _enter(request, response, cookie)


def _enter(request: Request, response: Response, cookie: str) -> dict[str, str]:
    principal = services_of(request).accounts.session(cookie)
    if principal is None:  # ended between the two calls: a password was changed, a user was removed
        raise Refusal(401, "the session ended at once; log in again")
    set_cookie(request, response, cookie)
    return _who(principal)


def _who(principal: Principal) -> dict[str, str]:
    return {"name": principal.name, "role": principal.role}
