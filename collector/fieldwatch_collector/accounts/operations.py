"""Operations on people, API tokens and login links; see `admin`."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fieldwatch_collector.accounts.errors import AccountError
from fieldwatch_collector.admin import AdminError, actor, operation
from fieldwatch_collector.config import is_loopback, join_address, split_address

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services


@operation("user.add")
def add_user(services: Services, arguments: Mapping[str, Any]) -> None:
    """Arguments: name, password, role."""
    with _told():
        services.accounts.add_user(
            _text(arguments, "name"), _text(arguments, "password"), _text(arguments, "role"), actor=actor()
        )


@operation("user.password")
def set_password(services: Services, arguments: Mapping[str, Any]) -> None:
    """Arguments: name, password. Ends the user's sessions."""
    with _told():
        services.accounts.set_password(_text(arguments, "name"), _text(arguments, "password"), actor=actor())


@operation("user.role")
def set_role(services: Services, arguments: Mapping[str, Any]) -> None:
    """Arguments: name, role."""
    with _told():
        services.accounts.set_role(_text(arguments, "name"), _text(arguments, "role"), actor=actor())


@operation("user.list")
def list_users(services: Services, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By name."""
    return services.accounts.list_users()


@operation("user.login-link")
def login_link(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """{"secret", "url"}: a page address that logs a user in, once and within 30 minutes. Argument: name, or empty."""
    with _told():
        secret = services.accounts.one_time_login(_text(arguments, "name"), actor=actor())
    return {"secret": secret, "url": f"{page_address(services)}/#/login/{secret}"}


@operation("api-token.create")
def create_api_token(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """{"token": the line}. Arguments: name, role."""
    with _told():
        line = services.accounts.create_api_token(
            _text(arguments, "name"), _text(arguments, "role"), services.authority.ca_der, actor=actor()
        )
    return {"token": line}


@operation("api-token.list")
def list_api_tokens(services: Services, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Oldest first."""
    return services.accounts.list_api_tokens()


@operation("api-token.revoke")
def revoke_api_token(services: Services, arguments: Mapping[str, Any]) -> None:
    """Argument: id."""
    with _told():
        services.accounts.revoke_api_token(_text(arguments, "id"), actor=actor())


def page_address(services: Services) -> str:
    """Where a browser finds the page: the configured address, with the port that the server really got."""
    host, port = split_address(services.config.listen.http)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        port = int(json.loads((services.data / "ports.json").read_text("utf-8"))["http"])
    if is_loopback(host):
        return f"http://{join_address(host, port)}"
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            host = socket.getfqdn()
    return f"https://{join_address(host, port)}"


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except AccountError as problem:
        raise AdminError(str(problem)) from None


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name, "")
    if not isinstance(value, str):
        raise AdminError(f"{name}: a text is wanted, not {type(value).__name__}")
    return value
