from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GapReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GAP_REASON_UNSPECIFIED: _ClassVar[GapReason]
    QUOTA: _ClassVar[GapReason]
    CORRUPT: _ClassVar[GapReason]
    EXPIRED: _ClassVar[GapReason]
    UNCLEAN_STOP: _ClassVar[GapReason]
    KERNEL_DROP: _ClassVar[GapReason]
    NOT_RUNNING: _ClassVar[GapReason]
    BACKPRESSURE: _ClassVar[GapReason]
    REFUSED: _ClassVar[GapReason]

class NackCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NACK_CODE_UNSPECIFIED: _ClassVar[NackCode]
    RETRY: _ClassVar[NackCode]
    CONFLICT: _ClassVar[NackCode]
    ROLLED_BACK: _ClassVar[NackCode]
    TOO_BIG: _ClassVar[NackCode]
    SCHEMA: _ClassVar[NackCode]
    OVER_QUOTA: _ClassVar[NackCode]

class HealthLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_LEVEL_UNSPECIFIED: _ClassVar[HealthLevel]
    HEALTH_OK: _ClassVar[HealthLevel]
    HEALTH_DEGRADED: _ClassVar[HealthLevel]
    HEALTH_FAILED: _ClassVar[HealthLevel]

class ConfigState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFIG_STATE_UNSPECIFIED: _ClassVar[ConfigState]
    CONFIG_APPLIED: _ClassVar[ConfigState]
    CONFIG_CONFIRMED: _ClassVar[ConfigState]
    CONFIG_REVERTED: _ClassVar[ConfigState]
    CONFIG_REJECTED: _ClassVar[ConfigState]

class CommandState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMAND_STATE_UNSPECIFIED: _ClassVar[CommandState]
    COMMAND_ACCEPTED: _ClassVar[CommandState]
    COMMAND_RUNNING: _ClassVar[CommandState]
    COMMAND_DONE: _ClassVar[CommandState]
    COMMAND_FAILED: _ClassVar[CommandState]
    COMMAND_REFUSED: _ClassVar[CommandState]
    COMMAND_CANCELLED: _ClassVar[CommandState]
GAP_REASON_UNSPECIFIED: GapReason
QUOTA: GapReason
CORRUPT: GapReason
EXPIRED: GapReason
UNCLEAN_STOP: GapReason
KERNEL_DROP: GapReason
NOT_RUNNING: GapReason
BACKPRESSURE: GapReason
REFUSED: GapReason
NACK_CODE_UNSPECIFIED: NackCode
RETRY: NackCode
CONFLICT: NackCode
ROLLED_BACK: NackCode
TOO_BIG: NackCode
SCHEMA: NackCode
OVER_QUOTA: NackCode
HEALTH_LEVEL_UNSPECIFIED: HealthLevel
HEALTH_OK: HealthLevel
HEALTH_DEGRADED: HealthLevel
HEALTH_FAILED: HealthLevel
CONFIG_STATE_UNSPECIFIED: ConfigState
CONFIG_APPLIED: ConfigState
CONFIG_CONFIRMED: ConfigState
CONFIG_REVERTED: ConfigState
CONFIG_REJECTED: ConfigState
COMMAND_STATE_UNSPECIFIED: CommandState
COMMAND_ACCEPTED: CommandState
COMMAND_RUNNING: CommandState
COMMAND_DONE: CommandState
COMMAND_FAILED: CommandState
COMMAND_REFUSED: CommandState
COMMAND_CANCELLED: CommandState

class EnrolRequest(_message.Message):
    __slots__ = ("token_id", "csr_der", "signature", "hostname", "version", "replace_agent")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPLACE_AGENT_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    csr_der: bytes
    signature: bytes
    hostname: str
    version: str
    replace_agent: str
    def __init__(self, token_id: _Optional[str] = ..., csr_der: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., hostname: _Optional[str] = ..., version: _Optional[str] = ..., replace_agent: _Optional[str] = ...) -> None: ...

class EnrolReply(_message.Message):
    __slots__ = ("agent_id", "certificate_der", "ca_der", "site", "pending", "retry_s", "trusted_ca_der", "ingest_port")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_DER_FIELD_NUMBER: _ClassVar[int]
    CA_DER_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    RETRY_S_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_CA_DER_FIELD_NUMBER: _ClassVar[int]
    INGEST_PORT_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    certificate_der: bytes
    ca_der: bytes
    site: str
    pending: bool
    retry_s: int
    trusted_ca_der: _containers.RepeatedScalarFieldContainer[bytes]
    ingest_port: int
    def __init__(self, agent_id: _Optional[str] = ..., certificate_der: _Optional[bytes] = ..., ca_der: _Optional[bytes] = ..., site: _Optional[str] = ..., pending: _Optional[bool] = ..., retry_s: _Optional[int] = ..., trusted_ca_der: _Optional[_Iterable[bytes]] = ..., ingest_port: _Optional[int] = ...) -> None: ...

class ChallengeRequest(_message.Message):
    __slots__ = ("agent_id",)
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    def __init__(self, agent_id: _Optional[str] = ...) -> None: ...

class ChallengeReply(_message.Message):
    __slots__ = ("challenge",)
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    challenge: bytes
    def __init__(self, challenge: _Optional[bytes] = ...) -> None: ...

class RecoverRequest(_message.Message):
    __slots__ = ("agent_id", "challenge", "csr_der", "signature", "version")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    challenge: bytes
    csr_der: bytes
    signature: bytes
    version: str
    def __init__(self, agent_id: _Optional[str] = ..., challenge: _Optional[bytes] = ..., csr_der: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., version: _Optional[str] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr_der",)
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    csr_der: bytes
    def __init__(self, csr_der: _Optional[bytes] = ...) -> None: ...

class Up(_message.Message):
    __slots__ = ("hello", "batch", "gap", "bye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    BYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    batch: Batch
    gap: Gap
    bye: Bye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., bye: _Optional[_Union[Bye, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "streams", "schema", "boot_id", "version", "buffered_bytes", "monotonic_ns", "wall_ns")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BUFFERED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_NS_FIELD_NUMBER: _ClassVar[int]
    WALL_NS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    streams: _containers.RepeatedCompositeFieldContainer[Stream]
    schema: int
    boot_id: bytes
    version: str
    buffered_bytes: int
    monotonic_ns: int
    wall_ns: int
    def __init__(self, protocol: _Optional[int] = ..., streams: _Optional[_Iterable[_Union[Stream, _Mapping]]] = ..., schema: _Optional[int] = ..., boot_id: _Optional[bytes] = ..., version: _Optional[str] = ..., buffered_bytes: _Optional[int] = ..., monotonic_ns: _Optional[int] = ..., wall_ns: _Optional[int] = ...) -> None: ...

class Stream(_message.Message):
    __slots__ = ("epoch", "first_unacked", "next_seq")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_UNACKED_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    first_unacked: int
    next_seq: int
    def __init__(self, epoch: _Optional[int] = ..., first_unacked: _Optional[int] = ..., next_seq: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("epoch", "seq", "kind", "schema", "records", "t_min", "t_max", "codec", "raw_bytes", "digest", "body", "clock_quality")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    T_MIN_FIELD_NUMBER: _ClassVar[int]
    T_MAX_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    RAW_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    CLOCK_QUALITY_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    kind: int
    schema: int
    records: int
    t_min: int
    t_max: int
    codec: int
    raw_bytes: int
    digest: bytes
    body: bytes
    clock_quality: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ..., kind: _Optional[int] = ..., schema: _Optional[int] = ..., records: _Optional[int] = ..., t_min: _Optional[int] = ..., t_max: _Optional[int] = ..., codec: _Optional[int] = ..., raw_bytes: _Optional[int] = ..., digest: _Optional[bytes] = ..., body: _Optional[bytes] = ..., clock_quality: _Optional[int] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("epoch", "from_seq", "to_seq", "records", "frames", "reason", "count_known", "ts_ns", "detail")
    class RecordsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    TO_SEQ_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_KNOWN_FIELD_NUMBER: _ClassVar[int]
    TS_NS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    from_seq: int
    to_seq: int
    records: _containers.ScalarMap[int, int]
    frames: int
    reason: GapReason
    count_known: bool
    ts_ns: int
    detail: str
    def __init__(self, epoch: _Optional[int] = ..., from_seq: _Optional[int] = ..., to_seq: _Optional[int] = ..., records: _Optional[_Mapping[int, int]] = ..., frames: _Optional[int] = ..., reason: _Optional[_Union[GapReason, str]] = ..., count_known: _Optional[bool] = ..., ts_ns: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class Bye(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Down(_message.Message):
    __slots__ = ("welcome", "ack", "nack", "credit", "goaway")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    GOAWAY_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    ack: Ack
    nack: Nack
    credit: Credit
    goaway: GoAway
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., goaway: _Optional[_Union[GoAway, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("have", "window_messages", "window_bytes", "max_batch_bytes", "codecs", "server_wall_ns", "return_spread_ms")
    HAVE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_BYTES_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    SERVER_WALL_NS_FIELD_NUMBER: _ClassVar[int]
    RETURN_SPREAD_MS_FIELD_NUMBER: _ClassVar[int]
    have: _containers.RepeatedCompositeFieldContainer[Have]
    window_messages: int
    window_bytes: int
    max_batch_bytes: int
    codecs: _containers.RepeatedScalarFieldContainer[int]
    server_wall_ns: int
    return_spread_ms: int
    def __init__(self, have: _Optional[_Iterable[_Union[Have, _Mapping]]] = ..., window_messages: _Optional[int] = ..., window_bytes: _Optional[int] = ..., max_batch_bytes: _Optional[int] = ..., codecs: _Optional[_Iterable[int]] = ..., server_wall_ns: _Optional[int] = ..., return_spread_ms: _Optional[int] = ...) -> None: ...

class Have(_message.Message):
    __slots__ = ("epoch", "upto", "also")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    UPTO_FIELD_NUMBER: _ClassVar[int]
    ALSO_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    upto: int
    also: _containers.RepeatedCompositeFieldContainer[Range]
    def __init__(self, epoch: _Optional[int] = ..., upto: _Optional[int] = ..., also: _Optional[_Iterable[_Union[Range, _Mapping]]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("from_seq", "to_seq")
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    TO_SEQ_FIELD_NUMBER: _ClassVar[int]
    from_seq: int
    to_seq: int
    def __init__(self, from_seq: _Optional[int] = ..., to_seq: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("epoch", "upto", "also")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    UPTO_FIELD_NUMBER: _ClassVar[int]
    ALSO_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    upto: int
    also: _containers.RepeatedCompositeFieldContainer[Range]
    def __init__(self, epoch: _Optional[int] = ..., upto: _Optional[int] = ..., also: _Optional[_Iterable[_Union[Range, _Mapping]]] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("epoch", "seq", "code", "retry_ms")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    RETRY_MS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    code: NackCode
    retry_ms: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ..., code: _Optional[_Union[NackCode, str]] = ..., retry_ms: _Optional[int] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("window_messages", "window_bytes")
    WINDOW_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    window_messages: int
    window_bytes: int
    def __init__(self, window_messages: _Optional[int] = ..., window_bytes: _Optional[int] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("reason", "retry_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_MS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    retry_ms: int
    def __init__(self, reason: _Optional[str] = ..., retry_ms: _Optional[int] = ...) -> None: ...

class AgentStatus(_message.Message):
    __slots__ = ("version", "hostname", "wall_ns", "uptime_s", "frames_seen", "frames_dropped", "frames_rejected", "records_sealed", "spool_records", "spool_bytes", "spool_oldest_ns", "gap_records", "rss_bytes", "interfaces", "state", "boot_id", "health", "config", "written_bytes", "written_bytes_day", "write_budget_bytes_day", "card_life_years", "allowed_commands", "clock_offset_ns", "clock_quality", "cpu_ms")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    WALL_NS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    FRAMES_SEEN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_REJECTED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_SEALED_FIELD_NUMBER: _ClassVar[int]
    SPOOL_RECORDS_FIELD_NUMBER: _ClassVar[int]
    SPOOL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SPOOL_OLDEST_NS_FIELD_NUMBER: _ClassVar[int]
    GAP_RECORDS_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_DAY_FIELD_NUMBER: _ClassVar[int]
    WRITE_BUDGET_BYTES_DAY_FIELD_NUMBER: _ClassVar[int]
    CARD_LIFE_YEARS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_COMMANDS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_QUALITY_FIELD_NUMBER: _ClassVar[int]
    CPU_MS_FIELD_NUMBER: _ClassVar[int]
    version: str
    hostname: str
    wall_ns: int
    uptime_s: int
    frames_seen: int
    frames_dropped: int
    frames_rejected: int
    records_sealed: int
    spool_records: int
    spool_bytes: int
    spool_oldest_ns: int
    gap_records: int
    rss_bytes: int
    interfaces: _containers.RepeatedCompositeFieldContainer[InterfaceStatus]
    state: str
    boot_id: str
    health: _containers.RepeatedCompositeFieldContainer[Health]
    config: ConfigStatus
    written_bytes: int
    written_bytes_day: int
    write_budget_bytes_day: int
    card_life_years: float
    allowed_commands: _containers.RepeatedScalarFieldContainer[str]
    clock_offset_ns: int
    clock_quality: int
    cpu_ms: int
    def __init__(self, version: _Optional[str] = ..., hostname: _Optional[str] = ..., wall_ns: _Optional[int] = ..., uptime_s: _Optional[int] = ..., frames_seen: _Optional[int] = ..., frames_dropped: _Optional[int] = ..., frames_rejected: _Optional[int] = ..., records_sealed: _Optional[int] = ..., spool_records: _Optional[int] = ..., spool_bytes: _Optional[int] = ..., spool_oldest_ns: _Optional[int] = ..., gap_records: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., interfaces: _Optional[_Iterable[_Union[InterfaceStatus, _Mapping]]] = ..., state: _Optional[str] = ..., boot_id: _Optional[str] = ..., health: _Optional[_Iterable[_Union[Health, _Mapping]]] = ..., config: _Optional[_Union[ConfigStatus, _Mapping]] = ..., written_bytes: _Optional[int] = ..., written_bytes_day: _Optional[int] = ..., write_budget_bytes_day: _Optional[int] = ..., card_life_years: _Optional[float] = ..., allowed_commands: _Optional[_Iterable[str]] = ..., clock_offset_ns: _Optional[int] = ..., clock_quality: _Optional[int] = ..., cpu_ms: _Optional[int] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("component", "level", "reason")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    component: str
    level: HealthLevel
    reason: str
    def __init__(self, component: _Optional[str] = ..., level: _Optional[_Union[HealthLevel, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class ConfigStatus(_message.Message):
    __slots__ = ("version", "state", "problem", "effective_hash", "effective")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_HASH_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    version: int
    state: ConfigState
    problem: str
    effective_hash: bytes
    effective: bytes
    def __init__(self, version: _Optional[int] = ..., state: _Optional[_Union[ConfigState, str]] = ..., problem: _Optional[str] = ..., effective_hash: _Optional[bytes] = ..., effective: _Optional[bytes] = ...) -> None: ...

class InterfaceStatus(_message.Message):
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

class Command(_message.Message):
    __slots__ = ("id", "name", "arguments", "timeout_s", "cancel", "actor", "config")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    arguments: bytes
    timeout_s: int
    cancel: bool
    actor: str
    config: RemoteConfig
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[bytes] = ..., timeout_s: _Optional[int] = ..., cancel: _Optional[bool] = ..., actor: _Optional[str] = ..., config: _Optional[_Union[RemoteConfig, _Mapping]] = ...) -> None: ...

class RemoteConfig(_message.Message):
    __slots__ = ("version", "settings", "signature", "signer_der")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNER_DER_FIELD_NUMBER: _ClassVar[int]
    version: int
    settings: bytes
    signature: bytes
    signer_der: bytes
    def __init__(self, version: _Optional[int] = ..., settings: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., signer_der: _Optional[bytes] = ...) -> None: ...

class CommandReport(_message.Message):
    __slots__ = ("id", "state", "percent", "text", "result", "chunk", "file_name")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: CommandState
    percent: int
    text: str
    result: bytes
    chunk: bytes
    file_name: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[CommandState, str]] = ..., percent: _Optional[int] = ..., text: _Optional[str] = ..., result: _Optional[bytes] = ..., chunk: _Optional[bytes] = ..., file_name: _Optional[str] = ...) -> None: ...

class ReportReply(_message.Message):
    __slots__ = ("cancelled",)
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    cancelled: bool
    def __init__(self, cancelled: _Optional[bool] = ...) -> None: ...
