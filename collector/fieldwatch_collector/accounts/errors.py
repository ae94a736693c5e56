"""What can be wrong with an account, a login or a link: one line for people each."""

from __future__ import annotations


class AccountError(ValueError):
    """A name, password or role that cannot be, or one that does not exist."""


class LoginError(AccountError):
    """Wrong name or password; which of the two is not told."""


class TooManyAttemptsError(LoginError):
    """Too many failures of this name or from this address; `retry_after_s` says when the next one counts."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failed logins; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class LinkError(AccountError):
    """A set-up or login link that was used, ran out, or never was."""
