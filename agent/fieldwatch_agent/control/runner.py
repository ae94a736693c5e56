"""Takes commands, runs each once in a thread of its own, reports it and writes it down.

The life of a command: refused; or accepted -> running -> done, failed, cancelled. A command whose id is known is not
begun again: while it runs the report goes on, when it has ended its end is reported again. What the collector asks for
beyond `[remote] allow` is refused here, and nowhere is there another way to a command.

What the device did is told in events ``agent.command_handled`` (command, name, actor, outcome, arguments, text), also
where the report did not arrive; ``agent.command`` is the collector's own, of what it has heard.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
from fieldwatch_proto.logs import get_logger, printable
from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.allowance import Allowance
from fieldwatch_agent.control import registry
from fieldwatch_agent.control.agent import Agent
from fieldwatch_agent.control.memory import Memory
from fieldwatch_agent.control.registry import ArgumentError, Outcome, Spec
from fieldwatch_agent.control.report import Report
from fieldwatch_agent.control.run import LOST_FILE, MAX_TEXT_CHARS, CommandError, Run, StoppedError

MAX_RUNNING = 4
MAX_THREADS = 16  # those that only report an end included
NEW_COMMANDS = 64  # at once, and then
NEW_COMMANDS_PER_S = 0.2  # each is written to the disk and told in events
FLOOD_S = 60.0  # with no command left aside for so long, a flood is over
MAX_ACTOR_CHARS = 128
DELIVER_S = 30.0
STOP_S = 2.0

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")

log = get_logger(__name__)


class Runner:
    """`audit` is told of each command that was accepted, refused or has ended, with what is worth keeping of it."""

    def __init__(self, agent: Agent, audit: Callable[[dict[str, Any]], None]) -> None:
        self._agent, self._audit = agent, audit
        self._memory = Memory(agent.folder)
        self._lock = threading.Lock()
        self._running: dict[str, Run] = {}
        self._threads: set[threading.Thread] = set()
        self._stopping = False
        self._new = Allowance(NEW_COMMANDS, NEW_COMMANDS_PER_S)
        self._left_aside_at = float("-inf")

    # --- what comes ---------------------------------------------------------------------------------------------

    def handle(self, command: agent_pb2.Command, channel: grpc.Channel) -> None:
        """Never waits and never raises: the session reads on."""
        if _ID.fullmatch(command.id) is None:
            if self._new.take():  # it costs what a command costs, or there would be a line for each
                log.warning("a command without a usable id was ignored", name=command.name[:64])
            return
        with self._lock:
            run = self._running.get(command.id)
            if self._stopping or (run is None and len(self._threads) >= MAX_THREADS):
                return  # it comes again with the next session
        if run is not None:
            if command.cancel:
                actor = _actor(command)
                run.stop(agent_pb2.COMMAND_CANCELLED, f"cancelled by {actor}" if actor else "cancelled")
            else:
                self._report_on(run, channel)
            return
        known = self._memory.find(command.id)
        if known is None and command.cancel:
            text = "it did not run here"
            known = agent_pb2.CommandReport(id=command.id, state=agent_pb2.COMMAND_CANCELLED, text=text)
        if known is not None:
            self._in_thread(lambda: Report(channel).finish(known, DELIVER_S), command)
        elif self._new.take():
            self._begin(command, channel)
        else:
            self._leave_aside(command)

    def _leave_aside(self, command: agent_pb2.Command) -> None:
        """It comes again with the next session. One line for a flood."""
        now = time.monotonic()
        if now - self._left_aside_at > FLOOD_S:
            log.warning("more commands came than an agent takes; those beyond are left aside", command=command.id)
        self._left_aside_at = now

    def _report_on(self, run: Run, channel: grpc.Channel) -> None:
        """A running command came again: the connection broke, and the report with it."""
        if run.report is None or not run.report.over or run.sent_bytes:
            return
        run.report = self._open_report(run, channel)
        run.report.send(run.present())

    def _open_report(self, run: Run, channel: grpc.Channel) -> Report:
        def ended(unwanted: bool) -> None:
            if unwanted:
                run.stop(agent_pb2.COMMAND_CANCELLED, "the collector does not want the result any more")

        return Report(channel, ended)

    def _begin(self, command: agent_pb2.Command, channel: grpc.Channel) -> None:
        try:
            spec = self._find(command.name)
            arguments = spec.parse(command.arguments)
            run = Run(command, min(command.timeout_s or spec.timeout_s, spec.timeout_s))
            with self._lock:
                busy = [other for other in self._running.values() if other.name == spec.name and not other.ending]
                if len(self._running) >= MAX_RUNNING or (spec.exclusive and busy):
                    raise ArgumentError("the agent is busy with other commands; try again when they have ended")
                self._running[command.id] = run
        except ArgumentError as problem:
            self._refuse(command, channel, str(problem))
            return
        self._in_thread(lambda: self._work(run, spec, arguments, channel), command)

    def _find(self, name: str) -> Spec:
        """The command, if this agent lets a collector give it. Raises ArgumentError."""
        spec = registry.find(name)
        allowed = self._agent.settings.value.remote.allow
        if spec is None:
            raise ArgumentError(f"this agent does not know the command {printable(name[:64])!r}; it may be too old")
        if spec.permission not in allowed:
            raise ArgumentError(
                f"this agent does not allow {spec.permission}; add it to [remote] allow in the agent's own"
                f" configuration (it holds: {', '.join(allowed) or 'nothing'})"
            )
        return spec

    def _refuse(self, command: agent_pb2.Command, channel: grpc.Channel, why: str) -> None:
        name, actor = printable(command.name[:64]), _actor(command)
        log.warning("a command was refused", command=command.id, name=name, actor=actor, reason=why)
        self._tell(command.id, name, actor, "refused", command.arguments[:512].decode("utf-8", "replace"), why)
        report = agent_pb2.CommandReport(id=command.id, state=agent_pb2.COMMAND_REFUSED, text=why[:MAX_TEXT_CHARS])
        self._in_thread(lambda: Report(channel).finish(report, DELIVER_S), command)

    def _in_thread(self, work: Callable[[], object], command: agent_pb2.Command) -> None:
        def body() -> None:
            try:
                work()
            except Exception:  # a channel that was closed meanwhile; a defect
                log.exception("a command was not reported", command=command.id)
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=body, name=f"command {command.name[:32]}", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    # --- the thread of a command --------------------------------------------------------------------------------

    def _work(self, run: Run, spec: Spec, arguments: dict[str, Any], channel: grpc.Channel) -> None:
        actor = run.actor[:MAX_ACTOR_CHARS]
        shown = json.dumps(arguments, sort_keys=True)
        outcome = Outcome()
        try:
            self._memory.begin(run.id, run.name)
            log.info("a command was accepted", command=run.id, name=run.name, actor=actor, arguments=shown)
            self._tell(run.id, run.name, actor, "accepted", shown, "")
            run.report = self._open_report(run, channel)
            run.report.send(run.present())
            outcome = spec.call(run, self._agent, **arguments)
            state, text = agent_pb2.COMMAND_DONE, outcome.text
        except StoppedError as problem:
            state, text = problem.state, str(problem)
        except CommandError as problem:
            state, text = agent_pb2.COMMAND_FAILED, str(problem)
        except Exception as problem:
            log.exception("a command failed", command=run.id, name=run.name)
            state, text = agent_pb2.COMMAND_FAILED, f"a defect of the agent's ({type(problem).__name__}); see its log"
        final = agent_pb2.CommandReport(
            id=run.id,
            state=state,
            percent=100 if state == agent_pb2.COMMAND_DONE else 0,
            text=text[:MAX_TEXT_CHARS],
            result=json.dumps(dict(outcome.result), sort_keys=True).encode(),
        )
        self._end(run, final, actor, shown)
        if outcome.then is not None:
            outcome.then()

    def _end(self, run: Run, final: agent_pb2.CommandReport, actor: str, shown: str) -> None:
        """Report and write down how it ended. A file that did not arrive makes a failure of what was done."""
        seconds = STOP_S if self._stopping else DELIVER_S
        run.ending = True
        if run.sent_bytes:
            delivered = run.report is not None and run.report.finish(final, seconds)
            if not delivered and final.state == agent_pb2.COMMAND_DONE:
                final.state, final.text, final.result = agent_pb2.COMMAND_FAILED, LOST_FILE, b"{}"
        self._memory.end(run.name, final)
        with self._lock:
            del self._running[run.id]
        ended = agent_pb2.CommandState.Name(final.state).removeprefix("COMMAND_").lower()
        log.info("a command has ended", command=run.id, name=run.name, actor=actor, outcome=ended, text=final.text)
        self._tell(run.id, run.name, actor, ended, shown, final.text)
        if run.report is not None and not run.sent_bytes:
            run.report.finish(final, seconds)

    def _tell(self, command_id: str, name: str, actor: str, outcome: str, arguments: str, text: str) -> None:
        self._audit(
            {
                "command": command_id,
                "name": name,
                "actor": actor,
                "outcome": outcome,
                "arguments": arguments,
                "text": text,
            }
        )

    def stop(self) -> None:
        """End what runs; the collector is told as far as it can be in `STOP_S`."""
        with self._lock:
            self._stopping = True
            runs, threads = list(self._running.values()), list(self._threads)
        for run in runs:
            run.stop(agent_pb2.COMMAND_FAILED, "the agent stops")
        deadline = time.monotonic() + STOP_S
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))


def _actor(command: agent_pb2.Command) -> str:
    return printable(command.actor[:MAX_ACTOR_CHARS])
