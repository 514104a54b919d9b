import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnvironmentRef(_message.Message):
    __slots__ = ("digest", "profile")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    profile: str
    def __init__(self, digest: _Optional[str] = ..., profile: _Optional[str] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("begin", "manifest", "pack")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    begin: PushBegin
    manifest: bytes
    pack: bytes
    def __init__(self, begin: _Optional[_Union[PushBegin, _Mapping]] = ..., manifest: _Optional[bytes] = ..., pack: _Optional[bytes] = ...) -> None: ...

class PushBegin(_message.Message):
    __slots__ = ("digest", "manifest_bytes", "profile")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    manifest_bytes: int
    profile: str
    def __init__(self, digest: _Optional[str] = ..., manifest_bytes: _Optional[int] = ..., profile: _Optional[str] = ...) -> None: ...

class PushEvent(_message.Message):
    __slots__ = ("send_manifest", "wanted", "send", "stored")
    SEND_MANIFEST_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    send_manifest: SendManifest
    wanted: Wanted
    send: Send
    stored: Stored
    def __init__(self, send_manifest: _Optional[_Union[SendManifest, _Mapping]] = ..., wanted: _Optional[_Union[Wanted, _Mapping]] = ..., send: _Optional[_Union[Send, _Mapping]] = ..., stored: _Optional[_Union[Stored, _Mapping]] = ...) -> None: ...

class Wanted(_message.Message):
    __slots__ = ("digests",)
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    digests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, digests: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SendManifest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Send(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Stored(_message.Message):
    __slots__ = ("known", "contents", "bytes")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    known: bool
    contents: int
    bytes: int
    def __init__(self, known: bool = ..., contents: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class ListEnvironmentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListEnvironmentsResponse(_message.Message):
    __slots__ = ("environments",)
    ENVIRONMENTS_FIELD_NUMBER: _ClassVar[int]
    environments: _containers.RepeatedCompositeFieldContainer[Environment]
    def __init__(self, environments: _Optional[_Iterable[_Union[Environment, _Mapping]]] = ...) -> None: ...

class Environment(_message.Message):
    __slots__ = ("digest", "profile", "used", "files", "bytes", "python", "prefix")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    digest: str
    profile: str
    used: _timestamp_pb2.Timestamp
    files: int
    bytes: int
    python: str
    prefix: str
    def __init__(self, digest: _Optional[str] = ..., profile: _Optional[str] = ..., used: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., files: _Optional[int] = ..., bytes: _Optional[int] = ..., python: _Optional[str] = ..., prefix: _Optional[str] = ...) -> None: ...

class RemoveEnvironmentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CollectEnvironmentsRequest(_message.Message):
    __slots__ = ("keep",)
    KEEP_FIELD_NUMBER: _ClassVar[int]
    keep: int
    def __init__(self, keep: _Optional[int] = ...) -> None: ...

class CollectEnvironmentsResponse(_message.Message):
    __slots__ = ("removed", "in_use", "bytes")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    IN_USE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    removed: _containers.RepeatedScalarFieldContainer[str]
    in_use: _containers.RepeatedScalarFieldContainer[str]
    bytes: int
    def __init__(self, removed: _Optional[_Iterable[str]] = ..., in_use: _Optional[_Iterable[str]] = ..., bytes: _Optional[int] = ...) -> None: ...
