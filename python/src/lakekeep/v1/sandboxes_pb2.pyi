import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_INTERACTIVE: _ClassVar[Kind]
    KIND_KERNEL: _ClassVar[Kind]
    KIND_UDF: _ClassVar[Kind]
    KIND_BATCH: _ClassVar[Kind]

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_CREATING: _ClassVar[State]
    STATE_RUNNING: _ClassVar[State]
    STATE_FROZEN: _ClassVar[State]
    STATE_ENDED: _ClassVar[State]
KIND_UNSPECIFIED: Kind
KIND_INTERACTIVE: Kind
KIND_KERNEL: Kind
KIND_UDF: Kind
KIND_BATCH: Kind
STATE_UNSPECIFIED: State
STATE_CREATING: State
STATE_RUNNING: State
STATE_FROZEN: State
STATE_ENDED: State

class SandboxRef(_message.Message):
    __slots__ = ("sandbox",)
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    def __init__(self, sandbox: _Optional[str] = ...) -> None: ...

class TaskRef(_message.Message):
    __slots__ = ("sandbox", "task")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    task: int
    def __init__(self, sandbox: _Optional[str] = ..., task: _Optional[int] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("profile", "policy", "project", "kind", "labels", "idle_timeout", "lifetime", "deadline", "code_owner", "request_id", "volumes", "interpreter", "environment")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    CODE_OWNER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    INTERPRETER_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    profile: str
    policy: str
    project: str
    kind: Kind
    labels: _containers.ScalarMap[str, str]
    idle_timeout: _duration_pb2.Duration
    lifetime: _duration_pb2.Duration
    deadline: _duration_pb2.Duration
    code_owner: str
    request_id: str
    volumes: _containers.RepeatedScalarFieldContainer[str]
    interpreter: str
    environment: str
    def __init__(self, profile: _Optional[str] = ..., policy: _Optional[str] = ..., project: _Optional[str] = ..., kind: _Optional[_Union[Kind, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., idle_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., code_owner: _Optional[str] = ..., request_id: _Optional[str] = ..., volumes: _Optional[_Iterable[str]] = ..., interpreter: _Optional[str] = ..., environment: _Optional[str] = ...) -> None: ...

class Sandbox(_message.Message):
    __slots__ = ("id", "owner", "identity", "profile", "state", "kind", "trust_key", "policy_digest", "image", "labels", "created", "ended", "last_used", "tasks", "verdict", "pid", "volumes", "quotas", "environment", "egress")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TRUST_KEY_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    QUOTAS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    EGRESS_FIELD_NUMBER: _ClassVar[int]
    id: str
    owner: str
    identity: str
    profile: str
    state: State
    kind: Kind
    trust_key: str
    policy_digest: str
    image: str
    labels: _containers.ScalarMap[str, str]
    created: _timestamp_pb2.Timestamp
    ended: _timestamp_pb2.Timestamp
    last_used: _timestamp_pb2.Timestamp
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    verdict: str
    pid: int
    volumes: _containers.RepeatedScalarFieldContainer[str]
    quotas: _containers.RepeatedCompositeFieldContainer[VolumeQuota]
    environment: str
    egress: str
    def __init__(self, id: _Optional[str] = ..., owner: _Optional[str] = ..., identity: _Optional[str] = ..., profile: _Optional[str] = ..., state: _Optional[_Union[State, str]] = ..., kind: _Optional[_Union[Kind, str]] = ..., trust_key: _Optional[str] = ..., policy_digest: _Optional[str] = ..., image: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_used: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., verdict: _Optional[str] = ..., pid: _Optional[int] = ..., volumes: _Optional[_Iterable[str]] = ..., quotas: _Optional[_Iterable[_Union[VolumeQuota, _Mapping]]] = ..., environment: _Optional[str] = ..., egress: _Optional[str] = ...) -> None: ...

class VolumeQuota(_message.Message):
    __slots__ = ("volume", "bytes", "used", "enforced", "missing")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    volume: str
    bytes: int
    used: int
    enforced: bool
    missing: str
    def __init__(self, volume: _Optional[str] = ..., bytes: _Optional[int] = ..., used: _Optional[int] = ..., enforced: bool = ..., missing: _Optional[str] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("task", "state", "tty", "program", "started", "ended", "exit_code")
    TASK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TTY_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    task: int
    state: State
    tty: bool
    program: str
    started: _timestamp_pb2.Timestamp
    ended: _timestamp_pb2.Timestamp
    exit_code: int
    def __init__(self, task: _Optional[int] = ..., state: _Optional[_Union[State, str]] = ..., tty: bool = ..., program: _Optional[str] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., exit_code: _Optional[int] = ...) -> None: ...

class ExecRequest(_message.Message):
    __slots__ = ("start", "attach", "stdin", "signal", "window")
    START_FIELD_NUMBER: _ClassVar[int]
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    start: ExecStart
    attach: AttachStart
    stdin: StdinData
    signal: int
    window: Window
    def __init__(self, start: _Optional[_Union[ExecStart, _Mapping]] = ..., attach: _Optional[_Union[AttachStart, _Mapping]] = ..., stdin: _Optional[_Union[StdinData, _Mapping]] = ..., signal: _Optional[int] = ..., window: _Optional[_Union[Window, _Mapping]] = ...) -> None: ...

class ExecStart(_message.Message):
    __slots__ = ("sandbox", "arguments", "environment", "secrets", "working_directory", "terminal", "term", "detach", "linger", "explain_syscalls", "query_id", "no_stdin", "request_id", "once", "entrypoint")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    TERMINAL_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    DETACH_FIELD_NUMBER: _ClassVar[int]
    LINGER_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_SYSCALLS_FIELD_NUMBER: _ClassVar[int]
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    NO_STDIN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    arguments: _containers.RepeatedScalarFieldContainer[bytes]
    environment: _containers.ScalarMap[str, str]
    secrets: _containers.RepeatedScalarFieldContainer[str]
    working_directory: str
    terminal: Window
    term: str
    detach: bool
    linger: _duration_pb2.Duration
    explain_syscalls: bool
    query_id: str
    no_stdin: bool
    request_id: str
    once: CreateRequest
    entrypoint: bool
    def __init__(self, sandbox: _Optional[str] = ..., arguments: _Optional[_Iterable[bytes]] = ..., environment: _Optional[_Mapping[str, str]] = ..., secrets: _Optional[_Iterable[str]] = ..., working_directory: _Optional[str] = ..., terminal: _Optional[_Union[Window, _Mapping]] = ..., term: _Optional[str] = ..., detach: bool = ..., linger: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., explain_syscalls: bool = ..., query_id: _Optional[str] = ..., no_stdin: bool = ..., request_id: _Optional[str] = ..., once: _Optional[_Union[CreateRequest, _Mapping]] = ..., entrypoint: bool = ...) -> None: ...

class AttachStart(_message.Message):
    __slots__ = ("sandbox", "task", "stdout_offset", "stderr_offset", "read_only", "no_follow", "stdin_offset")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    STDOUT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    STDERR_OFFSET_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    NO_FOLLOW_FIELD_NUMBER: _ClassVar[int]
    STDIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    task: int
    stdout_offset: int
    stderr_offset: int
    read_only: bool
    no_follow: bool
    stdin_offset: int
    def __init__(self, sandbox: _Optional[str] = ..., task: _Optional[int] = ..., stdout_offset: _Optional[int] = ..., stderr_offset: _Optional[int] = ..., read_only: bool = ..., no_follow: bool = ..., stdin_offset: _Optional[int] = ...) -> None: ...

class StdinData(_message.Message):
    __slots__ = ("offset", "data", "end")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    end: bool
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ..., end: bool = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("rows", "columns")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    columns: int
    def __init__(self, rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...

class ExecEvent(_message.Message):
    __slots__ = ("started", "stdout", "stderr", "stdin_accepted", "ended")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    STDIN_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    started: TaskStarted
    stdout: OutputData
    stderr: OutputData
    stdin_accepted: int
    ended: TaskEnded
    def __init__(self, started: _Optional[_Union[TaskStarted, _Mapping]] = ..., stdout: _Optional[_Union[OutputData, _Mapping]] = ..., stderr: _Optional[_Union[OutputData, _Mapping]] = ..., stdin_accepted: _Optional[int] = ..., ended: _Optional[_Union[TaskEnded, _Mapping]] = ...) -> None: ...

class TaskStarted(_message.Message):
    __slots__ = ("sandbox", "task", "stdin_offset")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    STDIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    task: int
    stdin_offset: int
    def __init__(self, sandbox: _Optional[str] = ..., task: _Optional[int] = ..., stdin_offset: _Optional[int] = ...) -> None: ...

class OutputData(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class TaskEnded(_message.Message):
    __slots__ = ("exit_code", "outcome")
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    exit_code: int
    outcome: str
    def __init__(self, exit_code: _Optional[int] = ..., outcome: _Optional[str] = ...) -> None: ...

class ReadFileRequest(_message.Message):
    __slots__ = ("sandbox", "path", "offset", "length")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    path: str
    offset: int
    length: int
    def __init__(self, sandbox: _Optional[str] = ..., path: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class WriteFileRequest(_message.Message):
    __slots__ = ("header", "data")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    header: WriteFileHeader
    data: bytes
    def __init__(self, header: _Optional[_Union[WriteFileHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class WriteFileHeader(_message.Message):
    __slots__ = ("sandbox", "path", "mode", "create_new")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    CREATE_NEW_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    path: str
    mode: int
    create_new: bool
    def __init__(self, sandbox: _Optional[str] = ..., path: _Optional[str] = ..., mode: _Optional[int] = ..., create_new: bool = ...) -> None: ...

class WriteFileResponse(_message.Message):
    __slots__ = ("size",)
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: int
    def __init__(self, size: _Optional[int] = ...) -> None: ...

class ListFilesRequest(_message.Message):
    __slots__ = ("sandbox", "path", "limit")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    path: str
    limit: int
    def __init__(self, sandbox: _Optional[str] = ..., path: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListFilesResponse(_message.Message):
    __slots__ = ("entries", "truncated")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[FileEntry]
    truncated: bool
    def __init__(self, entries: _Optional[_Iterable[_Union[FileEntry, _Mapping]]] = ..., truncated: bool = ...) -> None: ...

class FileEntry(_message.Message):
    __slots__ = ("name", "kind", "size", "mode")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    kind: str
    size: int
    mode: int
    def __init__(self, name: _Optional[bytes] = ..., kind: _Optional[str] = ..., size: _Optional[int] = ..., mode: _Optional[int] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("profile", "all_users", "ended", "labels", "page_size", "page_token")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ALL_USERS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    profile: str
    all_users: bool
    ended: bool
    labels: _containers.ScalarMap[str, str]
    page_size: int
    page_token: str
    def __init__(self, profile: _Optional[str] = ..., all_users: bool = ..., ended: bool = ..., labels: _Optional[_Mapping[str, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("sandboxes", "next_page_token")
    SANDBOXES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sandboxes: _containers.RepeatedCompositeFieldContainer[Sandbox]
    next_page_token: str
    def __init__(self, sandboxes: _Optional[_Iterable[_Union[Sandbox, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("sandbox", "interval")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    interval: _duration_pb2.Duration
    def __init__(self, sandbox: _Optional[str] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StatsSample(_message.Message):
    __slots__ = ("time", "sandboxes")
    TIME_FIELD_NUMBER: _ClassVar[int]
    SANDBOXES_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    sandboxes: _containers.RepeatedCompositeFieldContainer[SandboxStats]
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sandboxes: _Optional[_Iterable[_Union[SandboxStats, _Mapping]]] = ...) -> None: ...

class SandboxStats(_message.Message):
    __slots__ = ("sandbox", "memory", "memory_peak", "memory_limit", "cpu_us", "pids", "pids_limit", "oom_kills", "throttled_us", "cpus_milli", "owner", "profile")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PEAK_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CPU_US_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    PIDS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    OOM_KILLS_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_US_FIELD_NUMBER: _ClassVar[int]
    CPUS_MILLI_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    memory: int
    memory_peak: int
    memory_limit: int
    cpu_us: int
    pids: int
    pids_limit: int
    oom_kills: int
    throttled_us: int
    cpus_milli: int
    owner: str
    profile: str
    def __init__(self, sandbox: _Optional[str] = ..., memory: _Optional[int] = ..., memory_peak: _Optional[int] = ..., memory_limit: _Optional[int] = ..., cpu_us: _Optional[int] = ..., pids: _Optional[int] = ..., pids_limit: _Optional[int] = ..., oom_kills: _Optional[int] = ..., throttled_us: _Optional[int] = ..., cpus_milli: _Optional[int] = ..., owner: _Optional[str] = ..., profile: _Optional[str] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ("sandbox", "after", "all_users", "from_oldest", "no_follow")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ALL_USERS_FIELD_NUMBER: _ClassVar[int]
    FROM_OLDEST_FIELD_NUMBER: _ClassVar[int]
    NO_FOLLOW_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    after: int
    all_users: bool
    from_oldest: bool
    no_follow: bool
    def __init__(self, sandbox: _Optional[str] = ..., after: _Optional[int] = ..., all_users: bool = ..., from_oldest: bool = ..., no_follow: bool = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("number", "time", "what", "sandbox", "task", "owner", "profile", "detail")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    number: int
    time: _timestamp_pb2.Timestamp
    what: str
    sandbox: str
    task: int
    owner: str
    profile: str
    detail: str
    def __init__(self, number: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., what: _Optional[str] = ..., sandbox: _Optional[str] = ..., task: _Optional[int] = ..., owner: _Optional[str] = ..., profile: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class SignalRequest(_message.Message):
    __slots__ = ("sandbox", "task", "signal")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    task: int
    signal: int
    def __init__(self, sandbox: _Optional[str] = ..., task: _Optional[int] = ..., signal: _Optional[int] = ...) -> None: ...

class SignalResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReceiptResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: str
    def __init__(self, receipt: _Optional[str] = ...) -> None: ...

class VerdictResponse(_message.Message):
    __slots__ = ("verdict", "exit_code")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    verdict: str
    exit_code: int
    def __init__(self, verdict: _Optional[str] = ..., exit_code: _Optional[int] = ...) -> None: ...

class AttachVolumeRequest(_message.Message):
    __slots__ = ("sandbox", "volume")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    volume: str
    def __init__(self, sandbox: _Optional[str] = ..., volume: _Optional[str] = ...) -> None: ...
