"""The log forgets what is folded and older than its retention."""

from __future__ import annotations

from penstock.kernel.ports.event_log import EventLog, LogTrimmed


async def trim_older(log: EventLog, partition: int, marker: int, kept_since_us: int) -> None:
    """Trim what was appended before `kept_since_us`. The marker's own record stays: a start checks its digest."""
    kept_from, end = await log.bounds(partition)
    end = min(end - 1, marker)
    while kept_from < end:  # by halves: append times never go back
        middle = (kept_from + end) // 2
        try:
            records = await log.read(partition, middle, 1, 0)
        except LogTrimmed:
            return  # somebody else was faster
        if not records:
            return
        if records[0].appended_at_us < kept_since_us:
            kept_from = middle + 1
        else:
            end = middle
    await log.trim(partition, kept_from)
