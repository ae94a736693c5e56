from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Page(_message.Message):
    __slots__ = ("limit", "cursor")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    limit: int
    cursor: str
    def __init__(self, limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListDevicesRequest(_message.Message):
    __slots__ = ("page", "site", "q", "ordering", "since")
    PAGE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    Q_FIELD_NUMBER: _ClassVar[int]
    ORDERING_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    page: Page
    site: str
    q: str
    ordering: str
    since: str
    def __init__(self, page: _Optional[_Union[Page, _Mapping]] = ..., site: _Optional[str] = ..., q: _Optional[str] = ..., ordering: _Optional[str] = ..., since: _Optional[str] = ...) -> None: ...

class DeviceList(_message.Message):
    __slots__ = ("results", "next", "count")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Device]
    next: str
    count: int
    def __init__(self, results: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., next: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("id", "site", "name", "name_source", "macs", "ips", "vendor", "sources", "vlans", "first_seen", "last_seen", "frames", "flows", "bytes")
    ID_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_SOURCE_FIELD_NUMBER: _ClassVar[int]
    MACS_FIELD_NUMBER: _ClassVar[int]
    IPS_FIELD_NUMBER: _ClassVar[int]
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    VLANS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    site: str
    name: str
    name_source: str
    macs: _containers.RepeatedScalarFieldContainer[str]
    ips: _containers.RepeatedScalarFieldContainer[str]
    vendor: str
    sources: _containers.RepeatedScalarFieldContainer[str]
    vlans: _containers.RepeatedScalarFieldContainer[int]
    first_seen: str
    last_seen: str
    frames: int
    flows: int
    bytes: int
    def __init__(self, id: _Optional[str] = ..., site: _Optional[str] = ..., name: _Optional[str] = ..., name_source: _Optional[str] = ..., macs: _Optional[_Iterable[str]] = ..., ips: _Optional[_Iterable[str]] = ..., vendor: _Optional[str] = ..., sources: _Optional[_Iterable[str]] = ..., vlans: _Optional[_Iterable[int]] = ..., first_seen: _Optional[str] = ..., last_seen: _Optional[str] = ..., frames: _Optional[int] = ..., flows: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class GetDeviceRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeviceDetail(_message.Message):
    __slots__ = ("device", "interfaces", "addresses", "claims", "recent_flows")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    RECENT_FLOWS_FIELD_NUMBER: _ClassVar[int]
    device: Device
    interfaces: _containers.RepeatedCompositeFieldContainer[Interface]
    addresses: _containers.RepeatedCompositeFieldContainer[Address]
    claims: _containers.RepeatedCompositeFieldContainer[Claim]
    recent_flows: _containers.RepeatedCompositeFieldContainer[Flow]
    def __init__(self, device: _Optional[_Union[Device, _Mapping]] = ..., interfaces: _Optional[_Iterable[_Union[Interface, _Mapping]]] = ..., addresses: _Optional[_Iterable[_Union[Address, _Mapping]]] = ..., claims: _Optional[_Iterable[_Union[Claim, _Mapping]]] = ..., recent_flows: _Optional[_Iterable[_Union[Flow, _Mapping]]] = ...) -> None: ...

class Interface(_message.Message):
    __slots__ = ("mac", "vendor", "locally_administered", "vlans", "first_seen", "last_seen", "frames")
    MAC_FIELD_NUMBER: _ClassVar[int]
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    LOCALLY_ADMINISTERED_FIELD_NUMBER: _ClassVar[int]
    VLANS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    mac: str
    vendor: str
    locally_administered: bool
    vlans: _containers.RepeatedScalarFieldContainer[int]
    first_seen: str
    last_seen: str
    frames: int
    def __init__(self, mac: _Optional[str] = ..., vendor: _Optional[str] = ..., locally_administered: _Optional[bool] = ..., vlans: _Optional[_Iterable[int]] = ..., first_seen: _Optional[str] = ..., last_seen: _Optional[str] = ..., frames: _Optional[int] = ...) -> None: ...

class Address(_message.Message):
    __slots__ = ("ip", "mac", "source", "first_seen", "last_seen", "frames")
    IP_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    ip: str
    mac: str
    source: str
    first_seen: str
    last_seen: str
    frames: int
    def __init__(self, ip: _Optional[str] = ..., mac: _Optional[str] = ..., source: _Optional[str] = ..., first_seen: _Optional[str] = ..., last_seen: _Optional[str] = ..., frames: _Optional[int] = ...) -> None: ...

class Claim(_message.Message):
    __slots__ = ("key", "value", "source", "confidence", "first_seen", "last_seen", "times", "evidence", "agent")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    source: str
    confidence: int
    first_seen: str
    last_seen: str
    times: int
    evidence: str
    agent: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ..., source: _Optional[str] = ..., confidence: _Optional[int] = ..., first_seen: _Optional[str] = ..., last_seen: _Optional[str] = ..., times: _Optional[int] = ..., evidence: _Optional[str] = ..., agent: _Optional[str] = ...) -> None: ...

class ListFlowsRequest(_message.Message):
    __slots__ = ("page", "site", "since", "until", "device", "ip", "port", "protocol", "application", "ordering")
    PAGE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    ORDERING_FIELD_NUMBER: _ClassVar[int]
    page: Page
    site: str
    since: str
    until: str
    device: str
    ip: str
    port: int
    protocol: str
    application: str
    ordering: str
    def __init__(self, page: _Optional[_Union[Page, _Mapping]] = ..., site: _Optional[str] = ..., since: _Optional[str] = ..., until: _Optional[str] = ..., device: _Optional[str] = ..., ip: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ..., application: _Optional[str] = ..., ordering: _Optional[str] = ...) -> None: ...

class FlowList(_message.Message):
    __slots__ = ("results", "next")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Flow]
    next: str
    def __init__(self, results: _Optional[_Iterable[_Union[Flow, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class Flow(_message.Message):
    __slots__ = ("site", "agent", "protocol", "src", "src_port", "dst", "dst_port", "vlans", "packets", "bytes", "reply_packets", "reply_bytes", "first_seen", "last_seen", "tcp_flags", "state", "application", "src_device", "dst_device", "src_name", "dst_name", "tunnels", "interface", "retransmits", "reply_retransmits", "server_rtt_us", "client_rtt_us", "clock")
    SITE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SRC_FIELD_NUMBER: _ClassVar[int]
    SRC_PORT_FIELD_NUMBER: _ClassVar[int]
    DST_FIELD_NUMBER: _ClassVar[int]
    DST_PORT_FIELD_NUMBER: _ClassVar[int]
    VLANS_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    REPLY_PACKETS_FIELD_NUMBER: _ClassVar[int]
    REPLY_BYTES_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    TCP_FLAGS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    SRC_DEVICE_FIELD_NUMBER: _ClassVar[int]
    DST_DEVICE_FIELD_NUMBER: _ClassVar[int]
    SRC_NAME_FIELD_NUMBER: _ClassVar[int]
    DST_NAME_FIELD_NUMBER: _ClassVar[int]
    TUNNELS_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    RETRANSMITS_FIELD_NUMBER: _ClassVar[int]
    REPLY_RETRANSMITS_FIELD_NUMBER: _ClassVar[int]
    SERVER_RTT_US_FIELD_NUMBER: _ClassVar[int]
    CLIENT_RTT_US_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    site: str
    agent: str
    protocol: str
    src: str
    src_port: int
    dst: str
    dst_port: int
    vlans: _containers.RepeatedScalarFieldContainer[int]
    packets: int
    bytes: int
    reply_packets: int
    reply_bytes: int
    first_seen: str
    last_seen: str
    tcp_flags: str
    state: str
    application: str
    src_device: str
    dst_device: str
    src_name: str
    dst_name: str
    tunnels: str
    interface: str
    retransmits: int
    reply_retransmits: int
    server_rtt_us: int
    client_rtt_us: int
    clock: str
    def __init__(self, site: _Optional[str] = ..., agent: _Optional[str] = ..., protocol: _Optional[str] = ..., src: _Optional[str] = ..., src_port: _Optional[int] = ..., dst: _Optional[str] = ..., dst_port: _Optional[int] = ..., vlans: _Optional[_Iterable[int]] = ..., packets: _Optional[int] = ..., bytes: _Optional[int] = ..., reply_packets: _Optional[int] = ..., reply_bytes: _Optional[int] = ..., first_seen: _Optional[str] = ..., last_seen: _Optional[str] = ..., tcp_flags: _Optional[str] = ..., state: _Optional[str] = ..., application: _Optional[str] = ..., src_device: _Optional[str] = ..., dst_device: _Optional[str] = ..., src_name: _Optional[str] = ..., dst_name: _Optional[str] = ..., tunnels: _Optional[str] = ..., interface: _Optional[str] = ..., retransmits: _Optional[int] = ..., reply_retransmits: _Optional[int] = ..., server_rtt_us: _Optional[int] = ..., client_rtt_us: _Optional[int] = ..., clock: _Optional[str] = ...) -> None: ...

class TopFlowsRequest(_message.Message):
    __slots__ = ("by", "since", "until", "site", "limit")
    BY_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    by: str
    since: str
    until: str
    site: str
    limit: int
    def __init__(self, by: _Optional[str] = ..., since: _Optional[str] = ..., until: _Optional[str] = ..., site: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class TopList(_message.Message):
    __slots__ = ("results", "total_bytes")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Top]
    total_bytes: int
    def __init__(self, results: _Optional[_Iterable[_Union[Top, _Mapping]]] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class Top(_message.Message):
    __slots__ = ("key", "label", "bytes", "packets", "flows")
    KEY_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    key: str
    label: str
    bytes: int
    packets: int
    flows: int
    def __init__(self, key: _Optional[str] = ..., label: _Optional[str] = ..., bytes: _Optional[int] = ..., packets: _Optional[int] = ..., flows: _Optional[int] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("page", "site", "types", "since", "until")
    PAGE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    page: Page
    site: str
    types: _containers.RepeatedScalarFieldContainer[str]
    since: str
    until: str
    def __init__(self, page: _Optional[_Union[Page, _Mapping]] = ..., site: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ..., since: _Optional[str] = ..., until: _Optional[str] = ...) -> None: ...

class EventList(_message.Message):
    __slots__ = ("results", "next")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Event]
    next: str
    def __init__(self, results: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("types", "site", "since_seq")
    TYPES_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SINCE_SEQ_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedScalarFieldContainer[str]
    site: str
    since_seq: int
    def __init__(self, types: _Optional[_Iterable[str]] = ..., site: _Optional[str] = ..., since_seq: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("v", "id", "seq", "type", "ts", "site", "agent", "subject", "data", "evidence")
    V_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TS_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    v: int
    id: str
    seq: int
    type: str
    ts: str
    site: str
    agent: str
    subject: Subject
    data: str
    evidence: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, v: _Optional[int] = ..., id: _Optional[str] = ..., seq: _Optional[int] = ..., type: _Optional[str] = ..., ts: _Optional[str] = ..., site: _Optional[str] = ..., agent: _Optional[str] = ..., subject: _Optional[_Union[Subject, _Mapping]] = ..., data: _Optional[str] = ..., evidence: _Optional[_Iterable[str]] = ...) -> None: ...

class Subject(_message.Message):
    __slots__ = ("kind", "id", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    id: str
    name: str
    def __init__(self, kind: _Optional[str] = ..., id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ListAgentsRequest(_message.Message):
    __slots__ = ("site", "select")
    SITE_FIELD_NUMBER: _ClassVar[int]
    SELECT_FIELD_NUMBER: _ClassVar[int]
    site: str
    select: str
    def __init__(self, site: _Optional[str] = ..., select: _Optional[str] = ...) -> None: ...

class AgentList(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Agent]
    def __init__(self, results: _Optional[_Iterable[_Union[Agent, _Mapping]]] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("id", "name", "site", "state", "version", "enrolled", "last_contact", "frames_seen", "frames_dropped", "frames_rejected", "spool_records", "spool_bytes", "spool_oldest", "records_stored", "records_lost", "frames_lost", "rss_bytes", "uptime_s", "interfaces", "tags", "version_skew", "health", "health_reason", "clock_offset_ns", "written_bytes_day", "write_budget_bytes_day", "card_life_years", "allowed_commands", "config_version", "config_state", "config_problem", "config_drifted", "certificate_expires", "open_commands", "hostname", "cpu_share", "clock", "spool_oldest_clock")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_SEEN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_REJECTED_FIELD_NUMBER: _ClassVar[int]
    SPOOL_RECORDS_FIELD_NUMBER: _ClassVar[int]
    SPOOL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SPOOL_OLDEST_FIELD_NUMBER: _ClassVar[int]
    RECORDS_STORED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_LOST_FIELD_NUMBER: _ClassVar[int]
    FRAMES_LOST_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    VERSION_SKEW_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    HEALTH_REASON_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_DAY_FIELD_NUMBER: _ClassVar[int]
    WRITE_BUDGET_BYTES_DAY_FIELD_NUMBER: _ClassVar[int]
    CARD_LIFE_YEARS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_COMMANDS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_STATE_FIELD_NUMBER: _ClassVar[int]
    CONFIG_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DRIFTED_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    OPEN_COMMANDS_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    SPOOL_OLDEST_CLOCK_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    site: str
    state: str
    version: str
    enrolled: str
    last_contact: str
    frames_seen: int
    frames_dropped: int
    frames_rejected: int
    spool_records: int
    spool_bytes: int
    spool_oldest: str
    records_stored: int
    records_lost: int
    frames_lost: int
    rss_bytes: int
    uptime_s: int
    interfaces: _containers.RepeatedCompositeFieldContainer[AgentInterface]
    tags: _containers.ScalarMap[str, str]
    version_skew: str
    health: str
    health_reason: str
    clock_offset_ns: int
    written_bytes_day: int
    write_budget_bytes_day: int
    card_life_years: float
    allowed_commands: _containers.RepeatedScalarFieldContainer[str]
    config_version: int
    config_state: str
    config_problem: str
    config_drifted: bool
    certificate_expires: str
    open_commands: int
    hostname: str
    cpu_share: float
    clock: str
    spool_oldest_clock: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., site: _Optional[str] = ..., state: _Optional[str] = ..., version: _Optional[str] = ..., enrolled: _Optional[str] = ..., last_contact: _Optional[str] = ..., frames_seen: _Optional[int] = ..., frames_dropped: _Optional[int] = ..., frames_rejected: _Optional[int] = ..., spool_records: _Optional[int] = ..., spool_bytes: _Optional[int] = ..., spool_oldest: _Optional[str] = ..., records_stored: _Optional[int] = ..., records_lost: _Optional[int] = ..., frames_lost: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., uptime_s: _Optional[int] = ..., interfaces: _Optional[_Iterable[_Union[AgentInterface, _Mapping]]] = ..., tags: _Optional[_Mapping[str, str]] = ..., version_skew: _Optional[str] = ..., health: _Optional[str] = ..., health_reason: _Optional[str] = ..., clock_offset_ns: _Optional[int] = ..., written_bytes_day: _Optional[int] = ..., write_budget_bytes_day: _Optional[int] = ..., card_life_years: _Optional[float] = ..., allowed_commands: _Optional[_Iterable[str]] = ..., config_version: _Optional[int] = ..., config_state: _Optional[str] = ..., config_problem: _Optional[str] = ..., config_drifted: _Optional[bool] = ..., certificate_expires: _Optional[str] = ..., open_commands: _Optional[int] = ..., hostname: _Optional[str] = ..., cpu_share: _Optional[float] = ..., clock: _Optional[str] = ..., spool_oldest_clock: _Optional[str] = ...) -> None: ...

class AgentInterface(_message.Message):
    __slots__ = ("name", "frames", "dropped", "up")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    name: str
    frames: int
    dropped: int
    up: bool
    def __init__(self, name: _Optional[str] = ..., frames: _Optional[int] = ..., dropped: _Optional[int] = ..., up: _Optional[bool] = ...) -> None: ...

class ListSitesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SiteList(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Site]
    def __init__(self, results: _Optional[_Iterable[_Union[Site, _Mapping]]] = ...) -> None: ...

class Site(_message.Message):
    __slots__ = ("name", "agents", "devices")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    name: str
    agents: int
    devices: int
    def __init__(self, name: _Optional[str] = ..., agents: _Optional[int] = ..., devices: _Optional[int] = ...) -> None: ...

class GetAgentRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class AgentDetail(_message.Message):
    __slots__ = ("agent", "health", "config")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    agent: Agent
    health: _containers.RepeatedCompositeFieldContainer[AgentHealth]
    config: AgentConfig
    def __init__(self, agent: _Optional[_Union[Agent, _Mapping]] = ..., health: _Optional[_Iterable[_Union[AgentHealth, _Mapping]]] = ..., config: _Optional[_Union[AgentConfig, _Mapping]] = ...) -> None: ...

class AgentHealth(_message.Message):
    __slots__ = ("component", "level", "reason")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    component: str
    level: str
    reason: str
    def __init__(self, component: _Optional[str] = ..., level: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AgentConfig(_message.Message):
    __slots__ = ("version", "tried", "state", "problem", "drifted", "made", "settings", "effective")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRIED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    DRIFTED_FIELD_NUMBER: _ClassVar[int]
    MADE_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    version: int
    tried: int
    state: str
    problem: str
    drifted: bool
    made: str
    settings: _containers.RepeatedCompositeFieldContainer[ConfigSetting]
    effective: str
    def __init__(self, version: _Optional[int] = ..., tried: _Optional[int] = ..., state: _Optional[str] = ..., problem: _Optional[str] = ..., drifted: _Optional[bool] = ..., made: _Optional[str] = ..., settings: _Optional[_Iterable[_Union[ConfigSetting, _Mapping]]] = ..., effective: _Optional[str] = ...) -> None: ...

class ConfigSetting(_message.Message):
    __slots__ = ("selector", "section", "key", "value", "actor", "set")
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    selector: str
    section: str
    key: str
    value: str
    actor: str
    set: str
    def __init__(self, selector: _Optional[str] = ..., section: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[str] = ..., actor: _Optional[str] = ..., set: _Optional[str] = ...) -> None: ...

class SetAgentTagsRequest(_message.Message):
    __slots__ = ("id", "set", "remove")
    class SetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    id: str
    set: _containers.ScalarMap[str, str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., set: _Optional[_Mapping[str, str]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class ListCommandKindsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CommandKindList(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[CommandKind]
    def __init__(self, results: _Optional[_Iterable[_Union[CommandKind, _Mapping]]] = ...) -> None: ...

class CommandKind(_message.Message):
    __slots__ = ("name", "summary", "role", "gives_file", "timeout_s", "arguments")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    GIVES_FILE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    summary: str
    role: str
    gives_file: bool
    timeout_s: int
    arguments: _containers.RepeatedCompositeFieldContainer[CommandArgument]
    def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., role: _Optional[str] = ..., gives_file: _Optional[bool] = ..., timeout_s: _Optional[int] = ..., arguments: _Optional[_Iterable[_Union[CommandArgument, _Mapping]]] = ...) -> None: ...

class CommandArgument(_message.Message):
    __slots__ = ("name", "help", "required", "default", "integer", "low", "high", "choices")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HELP_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    name: str
    help: str
    required: bool
    default: str
    integer: bool
    low: int
    high: int
    choices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., help: _Optional[str] = ..., required: _Optional[bool] = ..., default: _Optional[str] = ..., integer: _Optional[bool] = ..., low: _Optional[int] = ..., high: _Optional[int] = ..., choices: _Optional[_Iterable[str]] = ...) -> None: ...

class RunCommandRequest(_message.Message):
    __slots__ = ("name", "arguments", "agents", "select", "timeout_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    SELECT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    arguments: str
    agents: _containers.RepeatedScalarFieldContainer[str]
    select: str
    timeout_s: int
    def __init__(self, name: _Optional[str] = ..., arguments: _Optional[str] = ..., agents: _Optional[_Iterable[str]] = ..., select: _Optional[str] = ..., timeout_s: _Optional[int] = ...) -> None: ...

class ListCommandsRequest(_message.Message):
    __slots__ = ("page", "agent", "state", "name")
    PAGE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    page: Page
    agent: str
    state: str
    name: str
    def __init__(self, page: _Optional[_Union[Page, _Mapping]] = ..., agent: _Optional[str] = ..., state: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class AgentCommandList(_message.Message):
    __slots__ = ("results", "next")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[AgentCommand]
    next: str
    def __init__(self, results: _Optional[_Iterable[_Union[AgentCommand, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class GetCommandRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class AgentCommand(_message.Message):
    __slots__ = ("id", "agent", "agent_name", "site", "name", "arguments", "actor", "state", "percent", "text", "result", "file_name", "file_bytes", "file_gone", "created", "expires", "sent", "cancel_asked", "ended")
    ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_GONE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_ASKED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    id: str
    agent: str
    agent_name: str
    site: str
    name: str
    arguments: str
    actor: str
    state: str
    percent: int
    text: str
    result: str
    file_name: str
    file_bytes: int
    file_gone: str
    created: str
    expires: str
    sent: str
    cancel_asked: str
    ended: str
    def __init__(self, id: _Optional[str] = ..., agent: _Optional[str] = ..., agent_name: _Optional[str] = ..., site: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ..., actor: _Optional[str] = ..., state: _Optional[str] = ..., percent: _Optional[int] = ..., text: _Optional[str] = ..., result: _Optional[str] = ..., file_name: _Optional[str] = ..., file_bytes: _Optional[int] = ..., file_gone: _Optional[str] = ..., created: _Optional[str] = ..., expires: _Optional[str] = ..., sent: _Optional[str] = ..., cancel_asked: _Optional[str] = ..., ended: _Optional[str] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("octets",)
    OCTETS_FIELD_NUMBER: _ClassVar[int]
    octets: bytes
    def __init__(self, octets: _Optional[bytes] = ...) -> None: ...

class ListConfigRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConfigSettingList(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ConfigSetting]
    def __init__(self, results: _Optional[_Iterable[_Union[ConfigSetting, _Mapping]]] = ...) -> None: ...

class SetConfigRequest(_message.Message):
    __slots__ = ("select", "settings", "unset", "agents")
    SELECT_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    UNSET_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    select: str
    settings: str
    unset: _containers.RepeatedScalarFieldContainer[str]
    agents: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, select: _Optional[str] = ..., settings: _Optional[str] = ..., unset: _Optional[_Iterable[str]] = ..., agents: _Optional[_Iterable[str]] = ...) -> None: ...

class SetConfigReply(_message.Message):
    __slots__ = ("selector", "agents", "results")
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    selector: str
    agents: int
    results: _containers.RepeatedCompositeFieldContainer[ConfigResult]
    def __init__(self, selector: _Optional[str] = ..., agents: _Optional[int] = ..., results: _Optional[_Iterable[_Union[ConfigResult, _Mapping]]] = ...) -> None: ...

class ConfigResult(_message.Message):
    __slots__ = ("agent", "agent_name", "version", "command")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    agent: str
    agent_name: str
    version: int
    command: str
    def __init__(self, agent: _Optional[str] = ..., agent_name: _Optional[str] = ..., version: _Optional[int] = ..., command: _Optional[str] = ...) -> None: ...
