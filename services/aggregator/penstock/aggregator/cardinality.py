"""Days on which a metric has more group combinations than its limit: who is told, and where an alert comes from.

Whether a day is exceeded is known only when the partitions are united, so nobody's fold can tell: readers ask when they
read, and the watch asks now and then, so that an operator hears of it before an invoice does.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from penstock.aggregator.combinations import days_question
from penstock.aggregator.metrics import Metrics
from penstock.kernel.cell import CellRow
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.window import Span, to_us

_DAY = timedelta(days=1)

logger = logging.getLogger(__name__)


def exceeded_days(rows: Iterable[CellRow], limit: int, spans: Sequence[Span]) -> list[str]:
    """The dates of rows of `days_question` that are beyond `limit` and that a span touches; without spans all do."""
    days = sorted(str(row.groups[0]) for row in rows if row.cell.events > limit)
    return [day for day in days if not spans or _is_touched(day, spans)]


def _is_touched(day: str, spans: Iterable[Span]) -> bool:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return any(span.start < start + _DAY and start < span.end for span in spans)


class CardinalityWatch:
    """`look` asks about today and yesterday; `exceeded` is what it found: on how many days, by tenant and metric id."""

    def __init__(self, store: UsageStore, metrics: Metrics, clock: Clock) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._told: set[tuple[str, str, str]] = set()
        self.exceeded: Mapping[tuple[str, str], int] = {}

    def look(self) -> None:
        """Raise `StoreUnavailable` where the store does not answer; what was found before stays."""
        today = self._clock.now()
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for tenant, limits in self._metrics.limits().items():
            question = days_question(tenant, None, to_us(today - _DAY), to_us(today))
            for row in self._store.read_cells(question).rows:
                metric_id, limit = limits.get(str(row.customer), ("", row.cell.events))
                if row.cell.events > limit:
                    found[tenant, metric_id].add(str(row.groups[0]))
        for (tenant, metric_id), days in found.items():
            for day in sorted(days):
                self._tell(tenant, metric_id, day)
        self._told = {told for told in self._told if told[2] in found.get(told[:2], ())}
        self.exceeded = {place: len(days) for place, days in found.items()}

    def _tell(self, tenant: str, metric_id: str, day: str) -> None:
        if (tenant, metric_id, day) not in self._told:
            self._told.add((tenant, metric_id, day))
            logger.warning(
                "billable metric %s of tenant %s has too many group combinations on %s: it has no figures there",
                metric_id,
                tenant,
                day,
            )
