"""Who may do what: people (password, session cookie), programs (API token), and the links that let the first one in.

May import the standard library, argon2 and `fieldwatch_proto`; it reaches the database through the store it is given.
Every secret is stored as a digest; passwords as argon2id.
"""

from fieldwatch_collector.accounts.accounts import Accounts
from fieldwatch_collector.accounts.errors import AccountError, LinkError, LoginError, TooManyAttemptsError
from fieldwatch_collector.accounts.principal import ROLES, Action, Principal, allows

__all__ = [
    "ROLES",
    "AccountError",
    "Accounts",
    "Action",
    "LinkError",
    "LoginError",
    "Principal",
    "TooManyAttemptsError",
    "allows",
]
