"""What the daemon's process leaves out, and that whoever asks for it gets it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from fieldwatch_agent.lean import LAZY


def in_lean_process(code: str) -> Any:
    """What `code` puts into `found`, in a process of its own that has become lean."""
    program = f"""
import sys
from fieldwatch_agent.lean import LAZY, become_lean
become_lean()
is_real = lambda name: getattr(sys.modules.get(name), "__spec__", None) is not None
{code}
import json
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)


def test_the_daemon_loads_none_of_them() -> None:
    """Importing the daemon uses nothing of all that is left to the first use."""
    found = in_lean_process("""
import fieldwatch_agent.daemon
found = [name for name in (*LAZY, "dpkt", "asyncio", "grpc.aio", "fieldwatch_agent.control.runner") if is_real(name)]
""")

    assert found == []


def test_each_is_whole_at_its_first_use() -> None:
    """What is asked of a stand-in comes from the module, also by `from`; later imports get the real one."""
    found = in_lean_process("""
import shutil
from base64 import b64encode
import google.protobuf.internal.python_message
before = is_real("shutil")
callable(shutil.rmtree)
found = [before, is_real("shutil"), b64encode(b"x").decode(), is_real("random")]
for name in LAZY:
    getattr(sys.modules[name], "no_such_thing", None)
found.append([name for name in LAZY if not is_real(name)])
""")

    assert found == [False, True, "eA==", False, []]
    assert len(LAZY) == len(set(LAZY))


def test_dpkt_in_part() -> None:
    """The headers that a dissector imports and the base class, nothing else of its eighty modules."""
    found = in_lean_process("""
from fieldwatch_agent.dissectors import dhcp
import dpkt
found = sorted(name for name in sys.modules if name.startswith("dpkt"))
assert issubclass(dhcp.Message, dpkt.dhcp.DHCP) and issubclass(dpkt.NeedData, dpkt.Error)
""")

    assert {"dpkt", "dpkt.dpkt", "dpkt.dhcp"} <= set(found)
    assert {"dpkt.http", "dpkt.pcap", "dpkt.ip"} & set(found) == set()


def test_two_threads_at_once() -> None:
    """Both get the module, and it is loaded once."""
    found = in_lean_process("""
import difflib, threading
gate, seen = threading.Barrier(8), []
def ask():
    gate.wait()
    seen.append(id(difflib.SequenceMatcher))
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
found = [len(seen), len(set(seen))]
""")

    assert found == [8, 1]
