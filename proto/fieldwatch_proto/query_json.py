"""Messages of query.proto as the objects that REST serves, and back.

The object has every field by its name, numbers as numbers, maps as objects, and the JSON that protobuf carries as text
(`JSON_FIELDS`) as itself. An `optional` field that is absent is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

_PACKAGE = "fieldwatch.v1."
JSON_VALUES = frozenset({f"{_PACKAGE}ConfigSetting.value"})  # any JSON; the others are objects
JSON_FIELDS = JSON_VALUES | {
    f"{_PACKAGE}{name}"
    for name in ("Event.data", "AgentCommand.arguments", "AgentCommand.result", "AgentConfig.effective")
}


def as_dict(message: Message) -> dict[str, Any]:
    """The object of a message."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.full_name in JSON_FIELDS:
            found[field.name] = json.loads(value or "{}")
        elif _is_map(field):
            found[field.name] = dict(value)
        elif field.is_repeated:
            found[field.name] = [as_dict(item) if isinstance(item, Message) else item for item in value]
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            found[field.name] = as_dict(value)
        else:
            found[field.name] = value if not field.has_presence or message.HasField(field.name) else None
    return found


def as_message(of: type[M], found: Mapping[str, Any]) -> M:
    """The message of an object."""
    return of(**_texts(of.DESCRIPTOR, found))


def _texts(descriptor: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its JSON as text, down to the last message in it."""
    values: dict[str, Any] = {}
    for name, value in found.items():
        field = descriptor.fields_by_name[name]
        inner = field.message_type
        if field.full_name in JSON_FIELDS:
            values[name] = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        elif inner is None or _is_map(field):
            values[name] = value
        elif field.is_repeated:
            values[name] = [_texts(inner, one) for one in value]
        else:
            values[name] = _texts(inner, value)
    return values


def _is_map(field: Any) -> bool:  # the C implementation has descriptors of its own types
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
