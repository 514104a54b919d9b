import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FlowFilter(_message.Message):
    __slots__ = ("since", "until", "user", "profile", "sandbox", "name", "verdicts")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    user: str
    profile: str
    sandbox: str
    name: str
    verdicts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user: _Optional[str] = ..., profile: _Optional[str] = ..., sandbox: _Optional[str] = ..., name: _Optional[str] = ..., verdicts: _Optional[_Iterable[str]] = ...) -> None: ...

class ReadFlowsRequest(_message.Message):
    __slots__ = ("filter", "limit")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    filter: FlowFilter
    limit: int
    def __init__(self, filter: _Optional[_Union[FlowFilter, _Mapping]] = ..., limit: _Optional[int] = ...) -> None: ...

class FlowsChunk(_message.Message):
    __slots__ = ("flows", "gaps")
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    flows: _containers.RepeatedCompositeFieldContainer[Flow]
    gaps: _containers.RepeatedCompositeFieldContainer[FlowGap]
    def __init__(self, flows: _Optional[_Iterable[_Union[Flow, _Mapping]]] = ..., gaps: _Optional[_Iterable[_Union[FlowGap, _Mapping]]] = ...) -> None: ...

class Flow(_message.Message):
    __slots__ = ("time", "user", "identity", "profile", "sandbox", "task", "query", "kind", "name", "address", "port", "rule", "mode", "verdict", "words", "sent", "received", "duration_us")
    TIME_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    user: str
    identity: str
    profile: str
    sandbox: str
    task: int
    query: str
    kind: str
    name: str
    address: str
    port: int
    rule: str
    mode: str
    verdict: str
    words: str
    sent: int
    received: int
    duration_us: int
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user: _Optional[str] = ..., identity: _Optional[str] = ..., profile: _Optional[str] = ..., sandbox: _Optional[str] = ..., task: _Optional[int] = ..., query: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., rule: _Optional[str] = ..., mode: _Optional[str] = ..., verdict: _Optional[str] = ..., words: _Optional[str] = ..., sent: _Optional[int] = ..., received: _Optional[int] = ..., duration_us: _Optional[int] = ...) -> None: ...

class FlowGap(_message.Message):
    __slots__ = ("first", "last", "flows", "words")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    first: _timestamp_pb2.Timestamp
    last: _timestamp_pb2.Timestamp
    flows: int
    words: str
    def __init__(self, first: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., flows: _Optional[int] = ..., words: _Optional[str] = ...) -> None: ...

class ReplayFlowsRequest(_message.Message):
    __slots__ = ("filter", "document")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    filter: FlowFilter
    document: str
    def __init__(self, filter: _Optional[_Union[FlowFilter, _Mapping]] = ..., document: _Optional[str] = ...) -> None: ...

class ReplayFlowsResponse(_message.Message):
    __slots__ = ("findings", "flows", "more", "gaps")
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[ReplayFinding]
    flows: int
    more: int
    gaps: _containers.RepeatedCompositeFieldContainer[FlowGap]
    def __init__(self, findings: _Optional[_Iterable[_Union[ReplayFinding, _Mapping]]] = ..., flows: _Optional[int] = ..., more: _Optional[int] = ..., gaps: _Optional[_Iterable[_Union[FlowGap, _Mapping]]] = ...) -> None: ...

class ReplayFinding(_message.Message):
    __slots__ = ("change", "user", "profile", "destination", "queries", "flows", "last", "words")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    change: str
    user: str
    profile: str
    destination: str
    queries: _containers.RepeatedScalarFieldContainer[str]
    flows: int
    last: _timestamp_pb2.Timestamp
    words: str
    def __init__(self, change: _Optional[str] = ..., user: _Optional[str] = ..., profile: _Optional[str] = ..., destination: _Optional[str] = ..., queries: _Optional[_Iterable[str]] = ..., flows: _Optional[int] = ..., last: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., words: _Optional[str] = ...) -> None: ...

class ExplainEgressRequest(_message.Message):
    __slots__ = ("destination", "sandbox", "user", "profile", "policy")
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    destination: str
    sandbox: str
    user: str
    profile: str
    policy: str
    def __init__(self, destination: _Optional[str] = ..., sandbox: _Optional[str] = ..., user: _Optional[str] = ..., profile: _Optional[str] = ..., policy: _Optional[str] = ...) -> None: ...

class ExplainEgressResponse(_message.Message):
    __slots__ = ("passes", "destination", "rule", "words", "remedy", "explained", "user", "profile")
    PASSES_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    EXPLAINED_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    passes: bool
    destination: str
    rule: str
    words: str
    remedy: str
    explained: _containers.RepeatedScalarFieldContainer[str]
    user: str
    profile: str
    def __init__(self, passes: bool = ..., destination: _Optional[str] = ..., rule: _Optional[str] = ..., words: _Optional[str] = ..., remedy: _Optional[str] = ..., explained: _Optional[_Iterable[str]] = ..., user: _Optional[str] = ..., profile: _Optional[str] = ...) -> None: ...
