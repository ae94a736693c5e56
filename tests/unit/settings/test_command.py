"""The base of all programs: exit codes, one-line errors, help with an example."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest
from fieldwatch_proto.cli.command import ConfigError, Failure, Program, UsageError
from fieldwatch_proto.version import VERSION


class SpoolError(Exception):
    pass


def program(outcome: int | BaseException | None = None) -> Program:
    made = Program("fieldwatch-test", "A program for tests.", failures=(SpoolError,))

    def status(args: argparse.Namespace) -> int | None:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    made.group("spool", "the local queue")
    made.add("spool status", status, "how much waits", example="fieldwatch-test spool status")
    made.add(
        "read",
        status,
        "what captures tell",
        example="fieldwatch-test read a.pcap",
        arguments=lambda parser: parser.add_argument("captures", nargs="+"),
    )
    return made


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (1, 1, ""),
        (Failure("the disk is full:\nfree some"), 1, "fieldwatch-test: the disk is full: free some\n"),
        (SpoolError("locked"), 1, "fieldwatch-test: locked\n"),
        (
            PermissionError(13, "Permission denied", "/no-such/file"),
            1,
            "fieldwatch-test: /no-such/file: Permission denied; / belongs to root: run this with sudo -u root\n",
        ),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "fieldwatch-test: x: No such file or directory\n"),
        (
            OSError(28, "No space left on device", "x"),
            1,
            "fieldwatch-test: x: No space left on device; free some space and try again\n",
        ),
        (UsageError("no such thing"), 2, "fieldwatch-test: no such thing\n"),
        (ConfigError("a = 1: no", "b = 2: no"), 2, "fieldwatch-test: a = 1: no\nfieldwatch-test: b = 2: no\n"),
        (KeyboardInterrupt(), 130, ""),
        (Failure("name \x1b[2J"), 1, "fieldwatch-test: name \\x1b[2J\n"),
    ],
)
def test_exit_codes(
    outcome: int | BaseException | None, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each way to end has its code, and at most one line a problem on standard error."""
    assert code == program(outcome).main(["spool", "status"])
    assert ("", said) == capsys.readouterr()


def test_a_defect_of_ours_is_not_hidden() -> None:
    """What is nobody's fault but ours keeps its traceback."""
    with pytest.raises(ZeroDivisionError):
        program(ZeroDivisionError()).main(["spool", "status"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["raed"], "fieldwatch-test: unknown command 'raed'; did you mean read? (see fieldwatch-test --help)\n"),
        (["xyzzy"], "fieldwatch-test: unknown command 'xyzzy'; commands: spool, read (see fieldwatch-test --help)\n"),
        (
            ["spool", "stats"],
            "fieldwatch-test spool: unknown command 'stats'; did you mean status? (see fieldwatch-test spool --help)\n",
        ),
        (
            ["read"],
            "fieldwatch-test read: the following arguments are required: captures (see fieldwatch-test read --help)\n",
        ),
        (
            ["read", "--no-such", "x"],
            "fieldwatch-test read: unrecognized arguments: --no-such (see fieldwatch-test read --help)\n",
        ),
        (
            ["spool", "status", "--hlep=1"],
            "fieldwatch-test spool status: unrecognized arguments: --hlep=1; did you mean --help?"
            " (see fieldwatch-test spool status --help)\n",
        ),
    ],
)
def test_wrong_usage(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says what is wrong and where to look, exit code 2."""
    assert program().main(argv) == 2
    assert ("", said) == capsys.readouterr()


@pytest.mark.parametrize("argv", [[], ["spool"]])
def test_without_a_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The help goes to standard error: nothing was done."""
    assert program().main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "commands:" in err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Help shows the example, on standard output; the version is one line."""
    assert program().main(["spool", "status", "--help"]) == 0
    assert "example:\n  fieldwatch-test spool status\n" in capsys.readouterr().out
    assert program().main(["spool", "--help"]) == 0
    assert "example:\n  fieldwatch-test spool status\n" in capsys.readouterr().out
    assert program().main(["--help"]) == 0
    assert "examples:\n  fieldwatch-test spool status\n  fieldwatch-test read a.pcap\n" in capsys.readouterr().out
    assert program().main(["--version"]) == 0
    assert f"fieldwatch-test {VERSION}\n" == capsys.readouterr().out


def test_a_reader_that_leaves_early() -> None:
    """`command | head -1`: no traceback, no message, exit code 0."""
    code = (
        "import sys\n"
        "from fieldwatch_proto.cli.command import Program\n"
        "p = Program('x', 'y')\n"
        "def run(args):\n"
        "    for n in range(200_000): print('line', n)\n"
        "p.add('run', run, 'z', example='x run')\n"
        "sys.exit(p.main(['run']))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    first = child.stdout.readline()
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()

    assert (first, said, child.wait(timeout=30)) == (b"line 0\n", b"", 0)


def test_a_group_may_stand_in_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    """ "spool keys show" is a command, "spool keys" shows what there is, and both help texts name the example."""
    made = program()
    seen: list[str] = []
    made.group("spool keys", "what it is closed with")
    made.add(
        "spool keys show",
        lambda args: seen.append(args.name),  # type: ignore[func-returns-value]
        "one key",
        example="fieldwatch-test spool keys show a",
        arguments=lambda parser: parser.add_argument("name"),
    )

    assert (0, 2) == (made.main(["spool", "keys", "show", "a"]), made.main(["spool", "keys"]))
    assert seen == ["a"]
    assert "fieldwatch-test spool keys show a" in capsys.readouterr().err
