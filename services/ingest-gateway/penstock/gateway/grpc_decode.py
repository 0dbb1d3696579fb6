"""From the bytes of an `EventBatch` to columns, rows and columns alike. One bad event never sinks its batch-mates.

The fast path reads the message at once. A protobuf message whose text is not UTF-8 is no message at all, so where that
fails the bytes are read a second time with every text as bytes, and each event judged by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from penstock.gateway.columns import Columns
from penstock.gateway.decode import UNREADABLE, Decoded, Refusal, refuse_too_many, why_unreadable
from penstock.gateway.protobuf_fields import count_fields
from penstock.kernel.event import NO_PROPERTIES
from penstock.kernel.problems import BadRequest
from penstock.wire import usage_pb2

FIELDS = ("transaction_id", "customer_id", "event_type", "time_us", "properties_json")
COUNTED_ABOVE_BYTES = 2 * 1024 * 1024
FIELDS_BESIDE_MAX = 100  # of the batch itself, known to this version or not
_PROPERTIES = msgspec.json.Decoder(msgspec.Raw)


def decode_batch(message: bytes, events_max: int) -> tuple[int, Decoded]:
    """The number that the client gave the batch, and its events. Raise `BadRequest` for the batch as a whole."""
    # Only a large message is worth the count: a small one cannot become much.
    if len(message) > COUNTED_ABOVE_BYTES:
        fields_max = FIELDS_BESIDE_MAX + events_max * len(FIELDS)
        if count_fields(message, fields_max) > fields_max:
            raise BadRequest(f"the batch has more fields than {events_max} events: send them in parts")
    try:
        batch = usage_pb2.EventBatch.FromString(message)
    except DecodeError:
        return _judge_alone(message, events_max)
    lists = _lists(batch, events_max)
    try:
        properties = _checked(lists[-1])
    except UNREADABLE:
        return batch.batch_id, _judge_each(lists)
    return batch.batch_id, Decoded(_columns((*lists[:-1], properties)), range(len(properties)))


def decode_arrow(message: bytes) -> tuple[int, bytes]:
    """The number that the client gave an `ArrowBatch`, and its IPC stream, which is the gateway's to read."""
    try:
        batch = usage_pb2.ArrowBatch.FromString(message)
    except DecodeError as exc:
        raise BadRequest("the message is not a penstock.v1.ArrowBatch") from exc
    return batch.batch_id, batch.ipc_stream


def _lists(batch: Any, events_max: int) -> tuple[list[Any], ...]:
    """The five columns of a batch, as the wire has them."""
    rows, columns = batch.events, batch.columns
    if rows and batch.HasField("columns"):
        raise BadRequest("the batch has both events and columns: send one of the two", field="columns")
    refuse_too_many(len(rows), events_max)
    if rows:
        events = list(rows)
        return (
            [event.transaction_id for event in events],
            [event.customer_id for event in events],
            [event.event_type for event in events],
            [event.time_us for event in events],
            [event.properties_json for event in events],
        )
    found = (
        columns.transaction_ids,
        columns.customer_ids,
        columns.event_types,
        columns.times_us,
        columns.properties_json,
    )
    if len({*map(len, found)}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for name, column in zip(FIELDS, found, strict=True))
        raise BadRequest(f"the columns are of unlike length: {lengths}", field="columns")
    refuse_too_many(len(found[0]), events_max)
    return tuple(column[:] for column in found)


def _checked(texts: Iterable[bytes]) -> list[msgspec.Raw]:
    """Each properties' JSON text, its syntax checked and the space around it gone; nothing inside it is read."""
    decode = _PROPERTIES.decode
    return [decode(text or NO_PROPERTIES) for text in texts]


def _columns(lists: Sequence[list[Any]]) -> Columns:
    ids, customers, event_types, times_us, properties = lists
    return Columns.of_lists(ids, customers, event_types, np.array(times_us, np.int64), properties)


def _judge_alone(message: bytes, events_max: int) -> tuple[int, Decoded]:
    try:
        batch: Any = _BYTES_BATCH.FromString(message)
    except DecodeError as exc:
        raise BadRequest("the message is not a penstock.v1.EventBatch") from exc
    return batch.batch_id, _judge_each(_lists(batch, events_max))


def _judge_each(lists: tuple[list[Any], ...]) -> Decoded:
    """Events of which one at least may be bad, one by one."""
    good: list[tuple[Any, ...]] = []
    indexes: list[int] = []
    refusals: list[Refusal] = []
    for index, (*texts, time_us, properties) in enumerate(zip(*lists, strict=True)):
        try:
            good.append((*map(_text, FIELDS, texts), time_us, *_checked([properties])))
            indexes.append(index)
        except UNREADABLE as exc:
            refusals.append(Refusal(index, None, f"properties_json cannot be read: {why_unreadable(exc)}"))
        except ValueError as exc:
            refusals.append(Refusal(index, None, str(exc)))
    kept = [list(values) for values in zip(*good, strict=True)] or [[] for _ in FIELDS]
    return Decoded(_columns(kept), indexes, tuple(refusals))


def _text(name: str, value: str | bytes) -> str:
    """Raise `ValueError` that names the field."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as exc:
        raise ValueError(f"{name} is not UTF-8") from exc


def _with_texts_as_bytes() -> Any:
    """`EventBatch` with every string field declared as bytes: on the wire the two are the same."""
    file = descriptor_pb2.FileDescriptorProto()
    usage_pb2.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        for field in message.field:
            if field.type == field.TYPE_STRING:
                field.type = field.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("penstock.v1.EventBatch"))


_BYTES_BATCH = _with_texts_as_bytes()
