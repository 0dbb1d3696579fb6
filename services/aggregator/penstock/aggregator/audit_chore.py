"""The continuous audit: every pass holds some closed windows, and what became of the newest events, against the truth.

A pass has a budget of events and of time, and reads at least the records of one window. Customers come in turn, their
windows by chance. What did not agree is looked at in every pass until it does: the error stays in sight until mended.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import msgspec

from penstock.aggregator.audit import Cut, Difference, events_by_tenant, growth_differences
from penstock.aggregator.auditor import Auditor, Findings
from penstock.kernel.cell import CellKey, CellQuestion
from penstock.kernel.meter import Aggregation, Metric
from penstock.kernel.ports.event_log import LogTrimmed
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.record import US_PER_DAY, LogRecord
from penstock.kernel.window import BASE_WINDOW_US

DAYS_BACK = 35  # the age to which events may come late
CUSTOMERS_PER_PASS = 10
PLACES_PER_PASS_MAX = 20
PASS_MS_MAX = 1_000
DOUBTFUL_MAX = 100
LOG_BYTES_MAX = 32 * 2**20

# Log records of a partition from an offset on, up to some bytes. Raises `LogTrimmed`.
ReadLog = Callable[[int, int, int], list[LogRecord]]


class Place(msgspec.Struct, frozen=True):
    """Some customer keys' cells of one metric, in one window."""

    tenant: str
    metric_id: str
    customers: tuple[str, ...]
    window_us: int


class AuditChore:
    """`run` makes one pass, in one thread at a time; `stop` ends it early, from any thread."""

    def __init__(
        self, auditor: Auditor, store: UsageStore, read_log: ReadLog, events_max: int, chance: random.Random
    ) -> None:
        self._auditor = auditor
        self._store = store
        self._read_log = read_log
        self._events_max = events_max
        self._chance = chance
        self._after: dict[str, str] = {}  # tenant -> the customer key up to which its customers have had their turn
        self._doubtful: list[Place] = []
        self._cuts: dict[int, Cut] = {}
        self._grown_wrong: dict[int, list[Difference]] = {}
        self._stopping = False

    def stop(self) -> None:
        """Let a pass under way, and every later one, return at its next step."""
        self._stopping = True

    def run(self) -> Findings:
        """Make a pass; return what it looked at and what differs. Raise `StoreUnavailable`: the next begins afresh."""
        self._follow_log()
        found = Findings()
        differences: dict[CellKey, Difference] = {}
        started_s = time.monotonic()
        for place in dict.fromkeys([*self._doubtful, *self._places()]):
            if self._stopping:
                return found
            is_late = time.monotonic() - started_s > PASS_MS_MAX / 1000
            if is_late and found.cells and place not in self._doubtful:
                break
            span_us = (place.window_us, place.window_us + BASE_WINDOW_US)
            one = self._auditor.cells(place.tenant, place.metric_id, place.customers, span_us)
            found.cells += one.cells
            differences |= {difference.key: difference for difference in one.differences}
        wrong = dict.fromkeys(Place(k.tenant, k.metric, (k.customer,), k.window_us) for k in differences)
        self._doubtful = list(wrong)[:DOUBTFUL_MAX]
        # What came to the log during a pass is little enough to be read at any rate.
        self._follow_log()
        grown = [difference for each in self._grown_wrong.values() for difference in each]
        found.differences = [*differences.values(), *grown]
        return found

    def _follow_log(self) -> None:
        for partition in range(self._auditor.partitions):
            if not self._stopping:
                self._follow(partition)

    def _follow(self, partition: int) -> None:
        """Hold what conservation grew by since the last look that was right against the log."""
        before = self._cuts.get(partition)
        after = self._auditor.cut(partition, before.hour_us if before else None)
        if before is None or after is None:
            if after is not None:
                self._cuts[partition] = after
            return
        logged = self._logged(partition, before.marker.offset, after.marker.offset)
        if logged is None:
            if partition not in self._grown_wrong:
                self._cuts[partition] = after
            return
        wrong = growth_differences(before, after, logged)
        if wrong:
            self._grown_wrong[partition] = wrong
            return
        self._grown_wrong.pop(partition, None)
        self._cuts[partition] = after

    def _logged(self, partition: int, above: int, through: int) -> dict[str, int] | None:
        """Events of the log's records above one offset, up to another, by tenant; None where they are too many."""
        found: dict[str, int] = {}
        left = LOG_BYTES_MAX
        while above < through:
            if left <= 0:
                return None
            try:
                records = self._read_log(partition, above + 1, left)
            except LogTrimmed:
                return None
            records = [record for record in records if record.offset <= through]
            if not records:
                return None
            for tenant, events in events_by_tenant(records).items():
                found[tenant] = found.get(tenant, 0) + events
            left -= sum(len(record.payload) for record in records)
            above = records[-1].offset
        return found

    def _places(self) -> Iterator[Place]:
        """Some closed windows of the next customers, as the budget allows; and one by chance, with cells or without."""
        markers = self._store.markers()
        metrics = [life.metric for life in self._auditor.lives()[0].values()]
        if not markers or not metrics or self._stopping:
            return
        metric = self._chance.choice(metrics)
        customers = self._next_customers(metric.tenant)
        end_us = min(marker.clock_us for marker in markers.values()) // BASE_WINDOW_US * BASE_WINDOW_US
        windows = range(max(0, end_us // US_PER_DAY - DAYS_BACK) * US_PER_DAY, end_us, BASE_WINDOW_US)
        if not customers or not windows:
            return
        left = self._events_max
        for window_us, of_customers in self._filled(metric, customers, windows):
            chosen = []
            for customer in sorted(customers, key=of_customers.__getitem__):
                if of_customers[customer] <= left:
                    left -= of_customers[customer]
                    chosen.append(customer)
            if any(of_customers[customer] for customer in chosen):
                yield Place(metric.tenant, metric.id, tuple(chosen), window_us)
        yield Place(metric.tenant, metric.id, customers, self._chance.choice(windows))

    def _next_customers(self, tenant: str) -> tuple[str, ...]:
        found = self._store.customer_keys(tenant, self._after.get(tenant, ""), CUSTOMERS_PER_PASS)
        if not found:
            found = self._store.customer_keys(tenant, "", CUSTOMERS_PER_PASS)
        self._after[tenant] = found[-1] if len(found) == CUSTOMERS_PER_PASS else ""
        return tuple(found)

    def _filled(
        self, metric: Metric, customers: tuple[str, ...], windows: range
    ) -> Iterator[tuple[int, dict[str, int]]]:
        """Some windows of a day in which these customers have cells, and the events that each one's cells hold."""
        days = list(self._held(metric, customers, windows, US_PER_DAY))
        if not days:
            return
        start_us = self._chance.choice(days)
        of_day = range(start_us, min(start_us + US_PER_DAY, windows.stop), BASE_WINDOW_US)
        found = list(self._held(metric, customers, of_day, BASE_WINDOW_US).items())
        yield from self._chance.sample(found, min(len(found), PLACES_PER_PASS_MAX))

    def _held(
        self, metric: Metric, customers: tuple[str, ...], windows: range, width_us: int
    ) -> dict[int, dict[str, int]]:
        """Events by stretch of `width_us` and customer, where there are any."""
        question = CellQuestion(
            tenant=metric.tenant,
            metric=metric.id,
            aggregation=Aggregation.COUNT,
            customers=customers,
            start_us=windows.start,
            end_us=windows.stop,
            starts=tuple(range(windows.start, windows.stop, width_us)),
            by_customer=True,
        )
        found: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(customers, 0))
        for row in self._store.read_cells(question).rows:
            found[row.start_us][str(row.customer)] = row.cell.events
        return found
