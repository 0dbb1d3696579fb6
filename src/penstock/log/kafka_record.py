"""A log record as a Kafka record: kind and gateway stamp in headers, the payload as the value, the offset as it is."""

from __future__ import annotations

from typing import Any

from aiokafka.record.memory_records import MemoryRecords

from penstock.kernel.ports.event_log import LogDamaged
from penstock.kernel.record import Kind, LogRecord

LOG_APPEND_TIME = 1
_OURS = frozenset(Kind) - {Kind.FOREIGN}
Headers = list[tuple[str, bytes]]


def headers_of(kind: Kind, stamped_at_us: int) -> Headers:
    return [("kind", int(kind).to_bytes(1, "big")), ("stamped_at_us", stamped_at_us.to_bytes(8, "big"))]


def decode_records(partition: int, start: int, bytes_max: int, batches: bytes) -> list[LogRecord]:
    """The records from offset `start` on, up to `bytes_max` of payload but at least one; none where none is whole.

    A record that is not ours is FOREIGN. Raise `LogDamaged` for a checksum that does not match and a gap in offsets.
    """
    records: list[LogRecord] = []
    unpacked = MemoryRecords(batches)
    end = start
    while unpacked.has_next():
        batch = unpacked.next_batch()
        if not batch.validate_crc():
            raise LogDamaged(f"partition {partition}, at or after offset {end}: the checksum does not match")
        for record in _of(partition, batch):
            if record.offset < start:
                continue  # a batch comes whole
            if record.offset != end:
                break
            bytes_max -= len(record.payload)
            if records and bytes_max < 0:
                return records
            records.append(record)
            end += 1
        if batch.next_offset > end:
            raise LogDamaged(f"partition {partition}: offset {end} is missing")
    return records


def _of(partition: int, batch: Any) -> list[LogRecord]:
    """A batch's records. All of it is foreign where it is a transaction's end, or has names that are no text."""
    offsets = range(batch.base_offset, batch.next_offset)
    at_us = batch.max_timestamp * 1_000
    foreign = [LogRecord(partition, offset, Kind.FOREIGN, at_us, at_us, b"") for offset in offsets]
    if batch.is_control_batch:
        return foreign
    try:
        return [_decode(partition, record) for record in batch]
    except UnicodeDecodeError:  # of a header's name; the checksum was right, so every reader comes to this
        return foreign


def _decode(partition: int, record: Any) -> LogRecord:
    headers = dict(record.headers)
    kind = int.from_bytes(headers.get("kind") or b"", "big")
    stamp = headers.get("stamped_at_us") or b""
    if record.timestamp_type != LOG_APPEND_TIME:
        raise LogDamaged(f"partition {partition}, offset {record.offset}: its time is not the broker's")
    appended_at_us = record.timestamp * 1_000
    if kind not in _OURS or len(stamp) != 8 or record.value is None:
        return LogRecord(partition, record.offset, Kind.FOREIGN, appended_at_us, appended_at_us, record.value or b"")
    stamped_at_us = int.from_bytes(stamp, "big")
    return LogRecord(partition, record.offset, Kind(kind), stamped_at_us, appended_at_us, record.value)
