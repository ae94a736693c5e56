"""Remote settings: merged by how specific a selector is, versioned, signed, pushed, and what agents say of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from fieldwatch_collector.commands import Asker, NotAllowed, feeds, remote_config
from fieldwatch_collector.commands.remote_config import signed_octets
from fieldwatch_collector.read_model import BadRequest, NotFound
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.collector import DEADLINE_S, Identity, Running, enrol, running, until
from support.commanded import desk, done

CHIEF = Asker("user:chief", "admin")
WORKER = Asker("api-token:worker", "operator")


async def configure(
    collector: Running, select: str, settings: dict[str, dict[str, Any]], *unset: str
) -> dict[str, Any]:
    return await asyncio.to_thread(collector.services.commands.settings.configure, CHIEF, select, settings, list(unset))


async def tag(collector: Running, identity: Identity, **tags: str | None) -> None:
    await asyncio.to_thread(collector.services.commands.settings.tag, CHIEF, identity.agent_id, tags)


def shown(collector: Running, identity: Identity) -> dict[str, Any]:
    """The agent's AgentDetail."""
    services = collector.services
    return services.commands.settings.detailed(services.read_model.get_agent(identity.agent_id))


def status(version: int, state: int, effective: str = "", hash_: bytes = b"\1" * 32, problem: str = "") -> Any:
    return pb.ConfigStatus(
        version=version, state=state, effective=effective.encode(), effective_hash=hash_, problem=problem
    )


async def test_settings_reach_the_agent_signed_by_a_key_for_this_use_alone(tmp_path: Path) -> None:
    """The signature is over agent, version and settings; the certificate is the CA's, for code signing, by its URI."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        await configure(collector, "*", {"flows": {"idle": "30 s"}})
        async with desk(collector, identity) as agent:
            command = await agent.command()
        signer = x509.load_der_x509_certificate(command.config.signer_der)
        authority = x509.load_der_x509_certificate(identity.ca_der)
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key = signer.public_key()

        assert (command.name, command.config.version) == ("config", 1)
        assert json.loads(command.config.settings) == {"flows": {"idle": "30 s"}}
        signer.verify_directly_issued_by(authority)
        assert list(usage) == [ExtendedKeyUsageOID.CODE_SIGNING]
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://fieldwatch/config"]
        assert isinstance(key, ec.EllipticCurvePublicKey)
        signed = signed_octets(identity.agent_id, 1, command.config.settings)
        key.verify(command.config.signature, signed, ec.ECDSA(hashes.SHA256()))
        assert signed.startswith(b"fieldwatch-config-1" + identity.agent_id.encode() + bytes(7) + b"\1")


async def test_a_key_that_cannot_be_had_holds_up_the_settings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session stays, other commands go out, and the settings follow as soon as they can be signed."""
    monkeypatch.setattr(feeds, "RETRY_S", 0.05)
    tried = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        commands = collector.services.commands
        sign = commands.signer.sign

        def fail(octets: bytes) -> tuple[bytes, bytes]:
            loop.call_soon_threadsafe(tried.set)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(commands.signer, "sign", fail)
        await asyncio.to_thread(commands.run, CHIEF, "reload", {}, agents=[identity.agent_id])
        await configure(collector, "*", {"flows": {"idle": "30 s"}})
        async with desk(collector, identity) as agent:
            first = await agent.command()
            await asyncio.wait_for(tried.wait(), DEADLINE_S)
            monkeypatch.setattr(commands.signer, "sign", sign)
            second = await agent.command()

        assert (first.name, second.name, second.config.version) == ("reload", "config", 1)


async def test_the_more_specific_selector_wins_key_by_key(tmp_path: Path) -> None:
    """* < a site < site and tag < the agent; what is unset lets the next one through."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector, collector.token(site="hq"))
        other = await enrol(collector, collector.token(site="lab"), hostname="other")
        await tag(collector, identity, role="edge")
        await configure(collector, identity.agent_id[:8], {"capture": {"workers": 4}})
        await configure(collector, "role=edge,site=hq", {"capture": {"workers": 3, "filter": "ip"}})
        await configure(collector, "site=hq", {"capture": {"workers": 2, "filter": "arp"}, "log": {"level": "debug"}})
        everybody = await configure(collector, "*", {"capture": {"workers": 1}, "log": {"level": "error"}})
        first = {
            row["key"]: (row["value"], row["selector"]) for row in shown(collector, identity)["config"]["settings"]
        }
        await configure(collector, identity.agent_id, {}, "capture.workers")
        await tag(collector, identity, role=None)
        after = {row["key"]: row["value"] for row in shown(collector, identity)["config"]["settings"]}
        theirs = {row["key"]: row["value"] for row in shown(collector, other)["config"]["settings"]}

        assert (everybody["selector"], everybody["agents"], len(everybody["results"])) == ("*", 2, 2)
        assert first == {
            "workers": (4, f"agent={identity.agent_id}"),
            "filter": ("ip", "role=edge,site=hq"),
            "level": ("debug", "site=hq"),
        }
        assert after == {"workers": 2, "filter": "arp", "level": "debug"}
        assert theirs == {"workers": 1, "level": "error"}


async def test_versions_rise_and_only_the_newest_waits(tmp_path: Path) -> None:
    """What does not change an agent's settings is no version; a newer one takes the place of one that waits."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        await configure(collector, "*", {"flows": {"max": 1}})
        await configure(collector, identity.agent_id, {"flows": {"max": 2}})
        await configure(collector, "*", {"flows": {"max": 3}})
        found = collector.services.commands.list_commands(name="config")["results"]
        async with desk(collector, identity) as agent:
            command = await agent.command()
            await configure(collector, identity.agent_id, {"flows": {"max": 4}})
            newer = await agent.command()

        assert [(one["state"], one["arguments"]) for one in found] == [
            ("waiting", {"version": 2}),
            ("cancelled", {"version": 1}),
        ]
        assert "version 2 takes its place" in found[1]["text"]
        assert (command.config.version, json.loads(command.config.settings)) == (2, {"flows": {"max": 2}})
        assert (newer.config.version, json.loads(newer.config.settings)) == (3, {"flows": {"max": 4}})


async def test_how_a_version_fares_is_shown_and_told(tmp_path: Path) -> None:
    """waiting, applied, confirmed, drifted when the device's own settings change, reverted with the agent's reason."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        seen: list[tuple[str, bool, str]] = []

        def note() -> None:
            found = shown(collector, identity)
            seen.append((found["config"]["state"], found["config"]["drifted"], found["config"]["problem"]))

        def said(state: str, hash_: bytes = b"\1" * 32) -> bool:
            held = json.loads(collector.rows("SELECT status FROM agent")[0][0])["config"]
            return held["state"] == state and held["effective_hash"] == hash_.hex()

        note()
        await configure(collector, "*", {"flows": {"max": 1}})
        note()
        async with desk(collector, identity) as agent:
            command = await agent.command()
            await agent.report(command.id, done())
        for state, word, hash_, problem in (
            (pb.CONFIG_APPLIED, "applied", b"\1" * 32, ""),
            (pb.CONFIG_CONFIRMED, "confirmed", b"\1" * 32, ""),
            (pb.CONFIG_CONFIRMED, "confirmed", b"\2" * 32, ""),
            (pb.CONFIG_REVERTED, "reverted", b"\2" * 32, "nothing was acked for 5 min"),
        ):
            config = status(1, state, '{"flows":{"max":1}}', hash_, problem)
            async with desk(collector, identity, config=config):
                await until(lambda word=word, hash_=hash_: said(word, hash_), "the status is stored")
            note()
        told = collector.rows("SELECT json_extract(data, '$.state') FROM event WHERE type = 'agent.config'")

        assert seen == [
            ("", False, ""),
            ("waiting", False, ""),
            ("applied", False, ""),
            ("confirmed", False, ""),
            ("confirmed", True, ""),
            ("reverted", False, "nothing was acked for 5 min"),
        ]
        assert [row[0] for row in told] == ["applied", "confirmed", "reverted"]
        assert shown(collector, identity)["config"]["effective"] == {"flows": {"max": 1}}


async def test_settings_in_force_are_kept_though_a_heartbeat_follows_at_once(tmp_path: Path) -> None:
    """Statuses are written every few seconds at most, and the settings stand in one of them alone."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with desk(collector, identity) as agent:
            await until(lambda: collector.rows("SELECT 1 FROM agent WHERE last_contact_ns > 0"), "the first is written")
            await agent.say(config=status(0, 0, '{"flows":{"max":7}}'))
            await agent.say(config=status(0, 0))
            await until(lambda: collector.rows("SELECT 1 FROM agent_config"), "the settings are written")

        assert shown(collector, identity)["config"]["effective"] == {"flows": {"max": 7}}


async def test_a_refusal_is_shown_and_not_repeated_until_the_agent_allows_it(tmp_path: Path) -> None:
    """The agent's own configuration decides; when it changes its mind the settings come by themselves."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        await configure(collector, "*", {"flows": {"max": 1}})
        refusal = {"state": pb.COMMAND_REFUSED, "text": "[remote] allow does not hold config"}
        async with desk(collector, identity) as agent:
            await agent.report((await agent.command()).id, refusal)
        state = shown(collector, identity)["config"]
        async with desk(collector, identity) as agent:  # its registry holds config now
            again = await agent.command()

        assert (state["state"], state["problem"]) == ("rejected", "[remote] allow does not hold config")
        assert again.config.version == 1


async def test_an_agent_that_takes_nothing_costs_few_rows(tmp_path: Path) -> None:
    """It refuses at each of its sessions, and says that it has tried more than it was given: bounded for a day."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        await configure(collector, "*", {"flows": {"max": 1}})
        asked = 0
        for session in range(remote_config.UNASKED_A_DAY + 4):
            said = status(100 * session, pb.CONFIG_REVERTED) if session % 2 else status(0, 0)
            async with desk(collector, identity, config=said) as agent:
                if session <= remote_config.UNASKED_A_DAY:
                    await agent.report((await agent.command()).id, {"state": pb.COMMAND_REFUSED, "text": "no"})
                    asked += 1
                else:
                    assert await agent.silent()
        rows = collector.rows("SELECT count(*) FROM command")
        await configure(collector, "*", {"flows": {"max": 2}})  # a person is always heard
        async with desk(collector, identity) as agent:
            given = await agent.command()

    assert rows == [(asked,)] == [(remote_config.UNASKED_A_DAY + 1,)]
    assert json.loads(given.config.settings) == {"flows": {"max": 2}}


async def test_what_an_agent_went_back_from_is_tried_again_when_it_is_set_again(tmp_path: Path) -> None:
    """The same settings under a new version; where they are in force, setting them again is no version."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        await configure(collector, "*", {"flows": {"max": 1}})
        async with desk(collector, identity, config=status(1, pb.CONFIG_CONFIRMED)) as agent:
            await agent.report((await agent.command()).id, done())
            await until(lambda: shown(collector, identity)["config"]["state"] == "confirmed", "it is confirmed")
        await configure(collector, "*", {"flows": {"max": 1}})
        same = shown(collector, identity)["config"]["version"]
        async with desk(collector, identity, config=status(1, pb.CONFIG_REVERTED)) as agent:
            await until(lambda: shown(collector, identity)["config"]["state"] == "reverted", "it is reverted")
            await configure(collector, "*", {"flows": {"max": 1}})
            command = await agent.command()

        assert same == 1
        assert (command.config.version, json.loads(command.config.settings)) == (2, {"flows": {"max": 1}})


async def test_an_agent_ahead_of_its_collector_gets_a_higher_version(tmp_path: Path) -> None:
    """The collector was restored from an older backup; an agent refuses versions below what it has tried."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        await configure(collector, "*", {"flows": {"max": 1}})
        async with desk(collector, identity, config=status(7, pb.CONFIG_CONFIRMED)) as agent:
            command = await agent.command()

        assert command.config.version == 8


async def test_a_device_that_was_another_agent_before_is_rid_of_its_settings(tmp_path: Path) -> None:
    """Nothing is set for this one: it is told so in a version that it takes, and so is what is set afterwards."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with desk(collector, identity, config=status(11, pb.CONFIG_CONFIRMED)) as agent:
            none = await agent.command()
            await agent.report(none.id, done())
            await agent.say(config=status(12, pb.CONFIG_CONFIRMED))
            await configure(collector, "*", {"flows": {"max": 1}})
            some = await agent.command()

        assert [(one.config.version, json.loads(one.config.settings)) for one in (none, some)] == [
            (12, {}),
            (13, {"flows": {"max": 1}}),
        ]


async def test_an_agent_that_has_forgotten_gets_its_settings_again(tmp_path: Path) -> None:
    """What its stored status says of an earlier life does not count: its card was written anew."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        await configure(collector, "*", {"flows": {"max": 1}})
        async with desk(collector, identity) as agent:
            first = await agent.command()
            await agent.report(first.id, done())
            await agent.say(config=status(1, pb.CONFIG_CONFIRMED))
            await until(lambda: shown(collector, identity)["agent"]["config_state"] == "confirmed", "it is stored")
        async with desk(collector, identity) as agent:
            again = await agent.command()

        assert (again.config.version, again.id != first.id) == (1, True)


async def test_an_agent_that_enrols_later_gets_what_is_set(tmp_path: Path) -> None:
    """With its first session, by the tags of its join token; and nothing where nothing is set for it."""
    async with running(tmp_path / "data") as collector:
        await configure(collector, "role=edge", {"flows": {"max": 1}})
        tagged = await enrol(collector, collector.token(tags={"role": "edge"}))
        plain = await enrol(collector, hostname="plain")
        async with desk(collector, tagged) as agent:
            command = await agent.command()
        async with desk(collector, plain) as agent:
            quiet = await agent.silent()

        assert (command.config.version, quiet) == (1, True)


async def test_the_signing_key_stays_and_is_renewed_in_time(tmp_path: Path) -> None:
    """The same certificate after a restart, another one in the second half of its life; the key is closed to others."""
    import datetime as dt
    import stat

    from fieldwatch_collector.identity.authority import Authority
    from fieldwatch_collector.identity.signing import ConfigSigner

    now = dt.datetime.now(dt.UTC)
    authority = Authority.open(tmp_path)
    first = ConfigSigner(authority).sign(b"x")[1]
    again = ConfigSigner(authority, lambda: now + dt.timedelta(days=44)).sign(b"x")[1]
    renewed = ConfigSigner(authority, lambda: now + dt.timedelta(days=46)).sign(b"x")[1]

    assert first == again
    assert renewed != first
    assert stat.S_IMODE((tmp_path / "pki/config.key").stat().st_mode) == 0o600


def test_the_signer_outlives_its_ca_until_agents_have_heard_of_the_next(tmp_path: Path) -> None:
    """During a rotation agents know the old CA, or both; afterwards the new one alone."""
    from fieldwatch_collector.identity.authority import Authority
    from fieldwatch_collector.identity.signing import ConfigSigner

    authority = Authority.open(tmp_path)
    signer = ConfigSigner(authority)
    signer.prepare()
    first = signer.sign(b"x")[1]
    authority.begin_rotation()
    during = [signer.sign(b"x")[1], ConfigSigner(authority).sign(b"x")[1]]
    authority.finish_rotation()
    after = x509.load_der_x509_certificate(signer.sign(b"x")[1])

    assert during == [first, first]
    after.verify_directly_issued_by(authority.certificate)


@pytest.mark.parametrize(
    ("select", "settings", "unset", "problem"),
    [
        ("*", {}, [], "nothing to change"),
        ("", {"flows": {"max": 1}}, [], "select: is empty"),
        ("role=", {"flows": {"max": 1}}, [], "is no KEY=VALUE"),
        ("a=1,a=2", {"flows": {"max": 1}}, [], "a is there twice"),
        ("*", {"flows": {"max": {"deep": 1}}}, [], "flows.max: accepted is a text"),
        ("*", {"flows": {"max": float("nan")}}, [], "finite"),
        ("*", {"flows": {"Max!": 1}}, [], "'Max!' is no name"),
        ("*", {"flows": {"max": "x" * 9_000}}, [], "the limit is 8192"),
        ("*", {}, ["flows.max"], "flows.max is not set for *"),
        ("*", {}, ["flows"], "is no SECTION.KEY"),
    ],
)
async def test_what_cannot_be_set_is_said(
    tmp_path: Path, select: str, settings: dict[str, dict[str, Any]], unset: list[str], problem: str
) -> None:
    """One line, and nothing changes."""
    from support.collector import offline

    with offline(tmp_path / "data") as services:
        with pytest.raises(BadRequest, match=problem.replace("*", r"\*")):
            services.commands.settings.configure(CHIEF, select, settings, unset)

        assert services.commands.settings.listed() == []


async def test_settings_and_tags_are_an_admins(tmp_path: Path) -> None:
    """An operator is refused, which is audited; an agent that there is not is said."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        settings = collector.services.commands.settings
        with pytest.raises(NotAllowed, match="operator, which may not admin"):
            settings.configure(WORKER, "*", {"flows": {"max": 1}})
        with pytest.raises(NotAllowed, match="operator, which may not admin"):
            settings.tag(WORKER, identity.agent_id, {"role": "edge"})
        with pytest.raises(NotFound, match="no agent 'nobody'"):
            settings.tag(CHIEF, "nobody", {"role": "edge"})
        with pytest.raises(BadRequest, match="site is what selectors call"):
            settings.tag(CHIEF, identity.agent_id, {"site": "hq"})

        refused = collector.rows("SELECT actor, action FROM audit WHERE outcome = 'refused' ORDER BY seq")
        assert refused == [("api-token:worker", "config.set"), ("api-token:worker", "agent.tag")]
