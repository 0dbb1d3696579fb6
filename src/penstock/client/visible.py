"""Whether what was acknowledged is in usage already, by what GET /v1/pipeline says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")
DATE_HEADER_STEP = timedelta(seconds=1)


class Partition(msgspec.Struct, frozen=True):
    """How far a partition is folded: the last offset, and the log's clock there in microseconds since the epoch."""

    partition: int
    folded: int
    clock_us: int


class Pipeline(msgspec.Struct, frozen=True):
    data: tuple[Partition, ...]


def is_visible(pipeline: Pipeline, receipts: Mapping[int, int], duplicates_at: datetime | None) -> bool:
    """Whether usage holds every event that was acknowledged with these receipts, or as a duplicate by `duplicates_at`.

    A duplicate is in the log already, but only the lost first answer said where. What was there at an instant is folded
    once the log's clock has passed it, which an idle partition's does every few seconds.
    """
    folded = {each.partition: each.folded for each in pipeline.data}
    if any(folded.get(partition, -1) < offset for partition, offset in receipts.items()):
        return False
    if duplicates_at is None:
        return True
    passed_us = (duplicates_at + DATE_HEADER_STEP - EPOCH) // timedelta(microseconds=1)
    return all(each.clock_us >= passed_us for each in pipeline.data)
