"""What a log record says of the clock and of itself, and when one vector has seen what another has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from penstock.kernel.record import Kind, LogIdentity, LogRecord, Marker, Vector, covers
from penstock.kernel.window import to_us

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_record(*, kind: Kind = Kind.CHUNK, stamped_at: datetime = NOON, appended_at: datetime = NOON) -> LogRecord:
    return LogRecord(0, 7, kind, to_us(stamped_at), to_us(appended_at), b"payload")


@pytest.mark.parametrize(
    ("stamped_after_append", "clock_after_append"),
    [
        (timedelta(0), timedelta(0)),
        (timedelta(days=1), timedelta(0)),  # a gateway whose clock is ahead cannot push the log's
        (timedelta(minutes=-5), timedelta(0)),
        (timedelta(minutes=-6), timedelta(minutes=-1)),  # a log whose clock is ahead is held by the gateway's
    ],
)
def test_the_clock_of_a_record_is_the_earlier_of_log_and_gateway_plus_slack(
    stamped_after_append: timedelta, clock_after_append: timedelta
) -> None:
    record = a_record(stamped_at=NOON + stamped_after_append)

    assert record.clock_us == to_us(NOON + clock_after_append)


def test_a_digest_names_content_and_not_place() -> None:
    record = a_record()
    others = [
        a_record(kind=Kind.TICK),
        a_record(stamped_at=NOON + timedelta(microseconds=1)),
        a_record(appended_at=NOON + timedelta(microseconds=1)),
        msgspec.structs.replace(record, payload=b"payloae"),
    ]

    assert len(record.digest()) == 16
    assert len({record.digest(), *(other.digest() for other in others)}) == 5
    assert msgspec.structs.replace(record, partition=1, offset=8).digest() == record.digest()


def test_a_marker_knows_the_day_of_its_clock_and_says_where_it_is() -> None:
    marker = Marker(partition=3, offset=41, log_id="log", partitions=8, digest=b"d", clock_us=to_us(NOON))

    assert marker.clock_day == (NOON.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days
    assert str(marker) == "partition 3 at offset 41, log clock 2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("newer", "older", "expected"),
    [
        ((3, 5), (3, 5), True),
        ((4, 5), (3, 5), True),
        ((4, 4), (3, 5), False),
        ((3, 5), (4, 4), False),  # neither has seen all of the other
        ((-1,), (-1,), True),
        ((9, 9), (1,), False),  # vectors of two logs
        ((), (), True),
    ],
)
def test_a_vector_covers_another_if_no_partition_is_behind(newer: Vector, older: Vector, expected: bool) -> None:
    assert covers(newer, older) is expected


def test_the_numbers_of_partitions_go_on_from_log_to_log() -> None:
    log = LogIdentity("third", 1, b"", sealed=(2, 3))

    assert (log.first, log.own, log.end) == (5, range(5, 6), 6)
    assert log.logs == (range(2), range(2, 5), range(5, 6))
    assert LogIdentity("first", 2, b"").logs == (range(2),)
