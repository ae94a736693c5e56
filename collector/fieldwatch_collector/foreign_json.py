"""JSON that strangers send, as far as everybody who reads it later can take it.

Python's reader takes more than its writer gives back: NaN, halves of surrogate pairs, any depth. What is stored stands
in lists beside what others have sent, and one row that cannot be written would close the whole list.
"""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 32


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """The object; None where the text is none, or one that RFC 8259 and UTF-8 have no words for."""
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()  # a UnicodeEncodeError is a ValueError
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and _is_flat(found, MAX_DEPTH) else None


def _is_flat(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_flat(one, depth - 1) for one in inner)
