"""Named points at which a test ends this process as a power cut would.

FIELDWATCH_FAULT="point:n" = SIGKILL at the nth passage of the point. Without the variable a point costs one test.
"""

from __future__ import annotations

import os
import signal

POINTS = ("put-before-commit", "put-after-commit", "ack-before-send")

_point, _, _count = os.environ.get("FIELDWATCH_FAULT", "").partition(":")
_left = int(_count or 1)
if _point and _point not in POINTS:
    raise SystemExit(f"FIELDWATCH_FAULT: no such point: {_point}; known: {', '.join(POINTS)}")


def reach(point: str) -> None:
    """Does not return at the nth passage of the point that the environment names."""
    global _left
    if point == _point:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
