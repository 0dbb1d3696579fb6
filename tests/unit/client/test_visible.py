"""When usage holds what was acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from penstock.client.visible import Partition, Pipeline, is_visible

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(partition: int, folded: int, seconds: int = 0) -> Partition:
    """A partition folded so far, its clock some seconds past noon."""
    clock = NOON + timedelta(seconds=seconds)
    return Partition(partition, folded, int(clock.timestamp()) * 1_000_000)


@pytest.mark.parametrize(
    ("partitions", "receipts", "visible"),
    [
        ((at(0, 4),), {}, True),
        ((at(0, 4),), {0: 4}, True),
        ((at(0, 3),), {0: 4}, False),
        ((at(0, 9), at(1, 3)), {0: 4, 1: 4}, False),
        ((at(0, 9), at(1, 4)), {0: 4, 1: 4}, True),
        ((at(0, 9),), {1: 0}, False),
    ],
)
def test_accepted_events_are_visible_once_every_receipt_is_folded(
    partitions: tuple[Partition, ...], receipts: dict[int, int], visible: bool
) -> None:
    assert is_visible(Pipeline(partitions), receipts, None) is visible


def test_duplicates_are_visible_once_every_partition_s_clock_has_passed_their_answer() -> None:
    assert not is_visible(Pipeline((at(0, 9, 0),)), {0: 4}, NOON)
    assert not is_visible(Pipeline((at(0, 9, 5), at(1, 9, 0))), {0: 4}, NOON)
    assert is_visible(Pipeline((at(0, 9, 5), at(1, 9, 1))), {0: 4}, NOON)
