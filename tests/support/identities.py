"""Identities that time has passed over: certificates as they were issued days ago, by the collector's own CA."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from fieldwatch_agent.enrolment import keys
from fieldwatch_agent.enrolment.identity import Identity, load_credentials, load_identity, store_identity
from fieldwatch_collector.identity import certificates
from fieldwatch_collector.identity.authority import Authority, Issued
from fieldwatch_collector.services import Services

from support.collector import request_der


def issue_past(services: Services, agent_id: str, key: ec.EllipticCurvePrivateKey, days: float) -> Issued:
    """A certificate for an agent as its collector would have issued it so many days ago, in the store as well."""
    then = Authority.open(services.data, lambda: dt.datetime.now(dt.UTC) - dt.timedelta(days=days))
    return services.store.transact_sync(
        lambda connection: certificates.issue(connection, then, agent_id, request_der(key))
    )


def expire(services: Services, folder: Path) -> Identity:
    """Give the agent of this folder a certificate that ended an hour ago, for the key that it has."""
    identity, held = load_identity(folder), load_credentials(folder)
    assert identity is not None
    key = keys.load_key(held.key)
    past = issue_past(services, identity.agent_id, key, 7 + 1 / 24)
    credentials, not_before, not_after = keys.accepted(key, past.der, keys.roots_of(held.ca))
    expired = Identity(**{**identity.__dict__, "not_before": not_before, "not_after": not_after})
    store_identity(folder, expired, credentials)
    return expired
