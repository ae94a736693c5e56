"""Operations on the collector's CA: what there is, and its replacement; see `admin`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cryptography import x509
from fieldwatch_proto.schema import time_text

from fieldwatch_collector import audit
from fieldwatch_collector.admin import AdminError, ArgumentError, actor, operation
from fieldwatch_collector.identity import certificates, pki

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services

NS = 1_000_000_000


@operation("ca.status")
def status(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """{"cas": the newest first, "agents": in force, "behind": those that have not heard of the newest CA yet}."""
    authority = services.authority
    earlier = authority.earlier
    since_ns = int(earlier[0].replaced.timestamp() * NS) if earlier else 0
    with services.store.reader() as connection:
        agents, behind = certificates.behind(connection, since_ns)
    signing = {**_shown(authority.certificate), "state": "signs", "replaced": ""}
    before = [
        {
            **_shown(one.root),
            "state": "trusted beside it" if one.announced else "vouches for its successor",
            "replaced": time_text(int(one.replaced.timestamp() * NS)),
        }
        for one in earlier
    ]
    return {"cas": [signing, *before], "agents": agents, "behind": behind if earlier else 0}


@operation("ca.rotate")
def rotate(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Argument: step, "begin" or "finish". Gives `status` as it is then."""
    step = str(arguments.get("step"))
    if step not in ("begin", "finish"):
        raise ArgumentError(f"step {step!r:.40}: accepted are begin and finish")
    if not services.authority.rotating.acquire(blocking=False):
        raise AdminError("somebody else replaces the CA right now; see what came of it: fieldwatch-collector ca status")
    try:
        _rotate(services, step)
    finally:
        services.authority.rotating.release()
    found: dict[str, Any] = status(services, {})
    return found


def _rotate(services: Services, step: str) -> None:
    """One step, written down; by one at a time."""
    authority = services.authority
    under_way = [one for one in authority.earlier if one.announced]
    if step == "begin" and under_way:
        since = time_text(int(under_way[0].replaced.timestamp() * NS))[:19]
        raise AdminError(
            f"the CA was replaced on {since}Z and agents still trust both; first:"
            " fieldwatch-collector ca rotate --finish"
        )
    if step == "finish" and not under_way:
        raise AdminError("no rotation is under way; begin one: fieldwatch-collector ca rotate --begin")
    who, before = actor(), _shown(authority.certificate)["fingerprint"]
    try:
        if step == "begin":
            authority.begin_rotation()
        else:
            authority.finish_rotation()
    except OSError as problem:
        _write_down(services, who, step, {"ca": before, "problem": str(problem)}, outcome="failed")
        raise AdminError(
            f"{authority.folder}: {problem.strerror}; free some space or check the owner, then restart the collector"
        ) from None
    _write_down(services, who, step, {"ca": _shown(authority.certificate)["fingerprint"], "before": before})


def _write_down(services: Services, who: str, step: str, data: Mapping[str, Any], outcome: str = "done") -> None:
    services.store.transact_sync(
        lambda connection: audit.append(connection, actor=who, action=f"ca.{step}", outcome=outcome, data=data)
    )


def _shown(root: x509.Certificate) -> dict[str, Any]:
    return {
        "fingerprint": hashlib.sha256(pki.der(root)).hexdigest()[:16],
        "expires": time_text(int(root.not_valid_after_utc.timestamp()) * NS),
    }
