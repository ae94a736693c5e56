"""`./dev fuzz SECONDS`: a running collector, then the targets against a kernel with ASan and UBSan on every core.

Prints the seed, and for a failure the case that repeats it. The instrumented build stands in build/sanitized.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build/sanitized"
INGEST_SHARE = 4  # a quarter of the time is the collector's


def compile_kernel(library: Path, switches: dict[str, str]) -> None:
    """Compile the kernel with the sanitizers into a folder beside the ordinary one."""
    command = [sys.executable, "setup.py", "-q", "build", f"--build-base={library}-tmp", f"--build-lib={library}"]
    environ = {**os.environ, **switches}
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"fuzz: the instrumented kernel did not compile:\n{done.stdout[-4000:]}")


def build() -> None:
    compile_kernel(BUILD, {"FIELDWATCH_SANITIZE": "1"})


def environment() -> dict[str, str]:
    runtime = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(runtime),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",  # the interpreter keeps what it has until it ends
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(BUILD), str(ROOT / "tests")]),
    }


def campaign(seconds: float, seed: int) -> list[str]:
    """Run one process a core; what failed, a line each."""
    failures = []
    with tempfile.TemporaryDirectory(prefix="fieldwatch-fuzz-") as top:
        running = []
        for worker in range(os.cpu_count() or 1):
            folder = Path(top, str(worker))
            folder.mkdir()
            command = [sys.executable, "-m", "fuzz.targets", f"--seconds={seconds}", f"--folder={folder}"]
            worker_seed = seed + worker
            process = subprocess.Popen(
                [*command, f"--seed={worker_seed}"], env=environment(), stderr=subprocess.PIPE, text=True
            )
            running.append((process, worker_seed, folder))
        for process, worker_seed, folder in running:
            _, said = process.communicate()
            last = said.strip().splitlines()[-1:]
            print(f"seed {worker_seed}: {''.join(last)}", file=sys.stderr)
            if process.returncode:
                case = int.from_bytes((folder / "at").read_bytes(), "little") if (folder / "at").exists() else "?"
                failures.append(f"seed {worker_seed} case {case} exit {process.returncode}\n{said[-4000:]}")
    return failures


def main() -> None:
    from fuzz import guided, ingest

    parser = argparse.ArgumentParser(prog="./dev fuzz")
    parser.add_argument("what", metavar="SECONDS|FINDING", help="how long, or a file of build/fuzz/findings to repeat")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    options = parser.parse_args()
    if not options.what.isdigit():
        guided.build()
        sys.exit(guided.repeat(Path(options.what)))
    seconds = int(options.what)
    failures = ingest.campaign(seconds / INGEST_SHARE, options.seed)
    seconds -= seconds // INGEST_SHARE
    build()
    if guided.is_available():
        guided.build()
        failures += campaign(seconds // 4, options.seed) + guided.fuzz(seconds - seconds // 4, options.seed)
    else:
        print(
            "fuzz: atheris has no wheel for this machine: seeded mutations alone, not coverage-guided", file=sys.stderr
        )
        failures += campaign(seconds, options.seed)
    for failure in failures:
        print(failure)
    print(f"fuzz: {len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
