from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_ACCEPTED: _ClassVar[Verdict]
    VERDICT_DUPLICATE: _ClassVar[Verdict]
    VERDICT_CONFLICT: _ClassVar[Verdict]
    VERDICT_REJECTED: _ClassVar[Verdict]
VERDICT_UNSPECIFIED: Verdict
VERDICT_ACCEPTED: Verdict
VERDICT_DUPLICATE: Verdict
VERDICT_CONFLICT: Verdict
VERDICT_REJECTED: Verdict

class EventBatch(_message.Message):
    __slots__ = ("batch_id", "events", "columns")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    batch_id: int
    events: _containers.RepeatedCompositeFieldContainer[Event]
    columns: EventColumns
    def __init__(self, batch_id: _Optional[int] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., columns: _Optional[_Union[EventColumns, _Mapping]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("transaction_id", "customer_id", "event_type", "time_us", "properties_json")
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_JSON_FIELD_NUMBER: _ClassVar[int]
    transaction_id: str
    customer_id: str
    event_type: str
    time_us: int
    properties_json: bytes
    def __init__(self, transaction_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., event_type: _Optional[str] = ..., time_us: _Optional[int] = ..., properties_json: _Optional[bytes] = ...) -> None: ...

class EventColumns(_message.Message):
    __slots__ = ("transaction_ids", "customer_ids", "event_types", "times_us", "properties_json")
    TRANSACTION_IDS_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_IDS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    TIMES_US_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_JSON_FIELD_NUMBER: _ClassVar[int]
    transaction_ids: _containers.RepeatedScalarFieldContainer[str]
    customer_ids: _containers.RepeatedScalarFieldContainer[str]
    event_types: _containers.RepeatedScalarFieldContainer[str]
    times_us: _containers.RepeatedScalarFieldContainer[int]
    properties_json: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, transaction_ids: _Optional[_Iterable[str]] = ..., customer_ids: _Optional[_Iterable[str]] = ..., event_types: _Optional[_Iterable[str]] = ..., times_us: _Optional[_Iterable[int]] = ..., properties_json: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ArrowBatch(_message.Message):
    __slots__ = ("batch_id", "ipc_stream")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    IPC_STREAM_FIELD_NUMBER: _ClassVar[int]
    batch_id: int
    ipc_stream: bytes
    def __init__(self, batch_id: _Optional[int] = ..., ipc_stream: _Optional[bytes] = ...) -> None: ...

class IngestReceipt(_message.Message):
    __slots__ = ("batch_id", "accepted", "duplicate", "conflict", "rejected", "positions", "not_accepted")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    NOT_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    batch_id: int
    accepted: int
    duplicate: int
    conflict: int
    rejected: int
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    not_accepted: _containers.RepeatedCompositeFieldContainer[EventVerdict]
    def __init__(self, batch_id: _Optional[int] = ..., accepted: _Optional[int] = ..., duplicate: _Optional[int] = ..., conflict: _Optional[int] = ..., rejected: _Optional[int] = ..., positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., not_accepted: _Optional[_Iterable[_Union[EventVerdict, _Mapping]]] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("partition", "offset")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    partition: int
    offset: int
    def __init__(self, partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class EventVerdict(_message.Message):
    __slots__ = ("index", "transaction_id", "verdict", "reason")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    index: int
    transaction_id: str
    verdict: Verdict
    reason: str
    def __init__(self, index: _Optional[int] = ..., transaction_id: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., reason: _Optional[str] = ...) -> None: ...
