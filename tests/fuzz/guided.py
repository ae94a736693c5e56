"""Coverage-guided fuzzing: atheris (libFuzzer) over a kernel built with clang, ASan and UBSan, a process a target.

Inputs that reached something new stay in build/fuzz/corpus, so that each run begins where the last one ended; what
fails stays in build/fuzz/findings and is named.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from fuzz.campaign import ROOT, compile_kernel

BUILD = ROOT / "build/fuzz"
LIBRARY = BUILD / "lib"
TESTS = ROOT / "tests"
LONGEST_INPUT = 16_384
SLOWEST_INPUT_S = 10
MEMORY_MIB = 2_048


def is_available() -> bool:
    """Whether atheris is installed; it has wheels for x86-64 alone."""
    return importlib.util.find_spec("atheris") is not None


def build() -> None:
    """Compile the kernel so that libFuzzer sees the way through it."""
    compile_kernel(LIBRARY, {"FIELDWATCH_FUZZ": "1", "CC": "clang", "LDSHARED": "clang -shared"})


def environment() -> dict[str, str]:
    found = importlib.util.find_spec("atheris")
    assert found is not None
    assert found.origin is not None
    return {
        **os.environ,
        "LD_PRELOAD": str(Path(found.origin).parents[1] / "asan_with_fuzzer.so"),
        # The interpreter keeps what it has until it ends; engines come and go by the thousand.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:quarantine_size_mb=16:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONPATH": os.pathsep.join([str(LIBRARY), str(TESTS)]),
    }


def plant(corpus: Path) -> None:
    """Write the seeds; `fuzz.seeds` says what they are."""
    from fuzz.seeds import seeds

    for target, inputs in seeds().items():
        folder = corpus / target
        folder.mkdir(parents=True, exist_ok=True)
        for octets in inputs:
            (folder / hashlib.sha256(octets).hexdigest()[:16]).write_bytes(octets[:LONGEST_INPUT])


def command(target: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "fuzz.inputs", target, *arguments]


def fuzz(seconds: int, seed: int, build_folder: Path = BUILD) -> list[str]:
    """Every target for so long, at the same time; what failed, a few lines each."""
    corpus, findings = build_folder / "corpus", build_folder / "findings"
    plant(corpus)
    running = []
    for target in sorted(folder.name for folder in corpus.iterdir()):
        (findings / target).mkdir(parents=True, exist_ok=True)
        arguments = (
            str(corpus / target),
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-max_len={LONGEST_INPUT}",
            f"-timeout={SLOWEST_INPUT_S}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-artifact_prefix={findings / target}/",
            "-print_final_stats=1",
            "-verbosity=1",
        )
        log = (findings / f"{target}.log").open("w+", errors="replace")
        process = subprocess.Popen(command(target, *arguments), env=environment(), stdout=log, stderr=log)
        running.append((target, process, log))
    failures = []
    for target, process, log in running:
        code = process.wait()
        log.seek(0)
        said = log.read()
        log.close()
        print(f"{target}: {_progress(said)}", file=sys.stderr)
        if code:
            failures.append(f"{target}: exit {code}, seed {seed}; {_finding(said)}\n{said[-4000:]}")
    return failures


def _progress(said: str) -> str:
    """Inputs run and the ways through the code that they reached, by libFuzzer's last line about it."""
    counts = re.findall(r"^#(\d+)\s+.*?cov: (\d+) ft: (\d+) corp: (\d+)", said, re.MULTILINE)
    if not counts:
        return "said nothing"
    runs, edges, features, kept = counts[-1]
    return f"{runs} inputs, {edges} edges, {features} features, {kept} inputs kept"


def _finding(said: str) -> str:
    kept = re.findall(r"Test unit written to (\S+)", said)
    return f"./dev fuzz {os.path.relpath(kept[-1], ROOT)} repeats it" if kept else "no input was kept"


def repeat(finding: Path) -> int:
    """Run one input, by the target whose folder it lies in; the exit code."""
    return subprocess.run(
        command(finding.resolve().parent.name, str(finding)), env=environment(), check=False
    ).returncode
