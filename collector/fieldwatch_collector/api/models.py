"""The shapes of the answers, for OpenAPI: made from the messages of query.proto, so that they are written once.

REST differs from protobuf in four places: JSON that protobuf carries as text is itself; an `optional` field that
is absent is null; a list has the shape `{count, next, previous, results}`; and what only REST has (series, status)
stands at the end of this file.
"""

from __future__ import annotations

from typing import Any

from fieldwatch_proto.query_json import JSON_FIELDS, JSON_VALUES
from fieldwatch_proto.v1 import query_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from pydantic import BaseModel, ConfigDict, Field, create_model

_SCALARS: dict[int, type] = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_UINT32: int,
    FieldDescriptor.TYPE_UINT64: int,
    FieldDescriptor.TYPE_SINT64: int,
    FieldDescriptor.TYPE_DOUBLE: float,
}
_made: dict[str, type[BaseModel]] = {}


def _model(descriptor: Descriptor) -> type[BaseModel]:
    """The model of a message; each message has one."""
    found = _made.get(descriptor.full_name)
    if found is None:
        fields: dict[str, Any] = {field.name: (_type(field), ...) for field in descriptor.fields}
        found = create_model(descriptor.name, __config__=ConfigDict(extra="forbid"), **fields)
        _made[descriptor.full_name] = found
    return found


def _type(field: FieldDescriptor) -> Any:
    if field.full_name in JSON_FIELDS:
        return Any if field.full_name in JSON_VALUES else dict[str, Any]
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_values: Any = _SCALARS[field.message_type.fields_by_name["value"].type]
        return dict[str, of_values]
    inner: Any = _SCALARS[field.type] if field.message_type is None else _model(field.message_type)
    if field.is_repeated:
        return list[inner]
    return inner | None if field.message_type is None and field.has_presence else inner


def _list(of: type[BaseModel]) -> type[BaseModel]:
    """The REST shape of a list."""
    return create_model(
        f"{of.__name__}List",
        __config__=ConfigDict(extra="forbid"),
        count=(int | None, Field(description="all that match; null where it is not counted")),
        next=(str | None, Field(description="URL of the next page; null = this is the last")),
        previous=(str | None, Field(description="always null: pages go one way")),
        results=(list[of], ...),  # type: ignore[valid-type]
    )


_messages = query_pb2.DESCRIPTOR.message_types_by_name
Device = _model(_messages["Device"])
DeviceDetail = _model(_messages["DeviceDetail"])
Flow = _model(_messages["Flow"])
TopList = _model(_messages["TopList"])
Event = _model(_messages["Event"])
Agent = _model(_messages["Agent"])
Site = _model(_messages["Site"])
AgentDetail = _model(_messages["AgentDetail"])
AgentCommand = _model(_messages["AgentCommand"])
CommandKind = _model(_messages["CommandKind"])
ConfigSetting = _model(_messages["ConfigSetting"])
SetConfigReply = _model(_messages["SetConfigReply"])

DeviceList = _list(Device)
FlowList = _list(Flow)
EventList = _list(Event)
AgentList = _list(Agent)
SiteList = _list(Site)
AgentCommandList = _list(AgentCommand)
CommandKindList = _list(CommandKind)
ConfigSettingList = _list(ConfigSetting)


class Series(BaseModel):
    key: str
    label: str
    values: list[int] = Field(description="octets in each step")


class FlowSeries(BaseModel):
    """Octets over time; what the series do not hold stands in a last one with the key "other"."""

    step_s: int
    start: str
    series: list[Series]


class Projection(BaseModel):
    name: str
    position: int
    behind: int = Field(description="batches that are stored and not yet in the tables")


class Status(BaseModel):
    """One look at the collector."""

    version: str
    time: str
    devices: int
    flows: int
    events: int
    sites: int
    agents: dict[str, int] = Field(description="how many are online, offline, never, revoked")
    projections: list[Projection]
    dead_letters: int
    records_lost: int
    frames_lost: int
    public_grpc_port: int = Field(description="where agents enrol and programs ask over gRPC")


class Who(BaseModel):
    """Who is logged in."""

    name: str
    role: str


class SetupState(BaseModel):
    needed: bool = Field(description="no administrator exists yet")
