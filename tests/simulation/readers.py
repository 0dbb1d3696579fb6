"""Readers of usage: consistent cuts at random moments, kept to be held against the oracle at the vector they name."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import cast

from penstock.aggregator.auditor import WINDOWS_END_US, Auditor
from penstock.aggregator.usage import UsageService
from penstock.kernel.cell import FILLED_US
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import LogUnavailable, StoreUnavailable
from penstock.kernel.usage import UsageQuery
from penstock.kernel.window import Span, from_us
from simulation.check import Cut, require
from simulation.definitions import Definitions
from simulation.faulty_store import ReaderView, Tables
from simulation.traffic import CUSTOMERS, HOT_US, TENANTS
from simulation.world import World


class ReaderClock:
    """The `time` of a reader: while it waits, others act; its patience is soon over."""

    def __init__(self, world: World) -> None:
        self._world, self._passed_s = world, 0

    def monotonic(self) -> int:
        return self._passed_s

    def sleep(self, seconds: float) -> None:
        self._passed_s += 3
        self._world.pause(1)


class Readers:
    """Whoever asks: for usage, whose answers are kept in `cuts`, and the auditor."""

    def __init__(self, world: World, tables: Tables, definitions: Definitions) -> None:
        self._world, self._definitions = world, definitions
        view = cast(UsageStore, ReaderView(world, tables))  # a reader asks for no more of it
        self._tables = tables
        self._usage = UsageService(view, definitions.metrics, world.plan.partitions)
        self._auditor = Auditor(view, world.plan.partitions)
        self.cuts: list[Cut] = []

    def read(self) -> None:
        """Some questions of one tenant, all of one cut."""
        chance = self._world.chance
        tenant = chance.choice(TENANTS)
        mine = [metric_id for metric_id, owner in self._definitions.tenants.items() if owner == tenant]
        if mine:
            self._ask([self._query(tenant, chance.choice(mine)) for _ in range(chance.randrange(1, 4))])

    def read_all(self) -> None:
        """Every metric from stored events alone."""
        spans = self._ragged_spans(6)
        for metric_id, tenant in self._definitions.tenants.items():
            self._ask([UsageQuery(tenant, metric_id, CUSTOMERS, spans)])

    def audit(self) -> None:
        """Every cell that there is of a metric is what stored events make, whatever is under way."""
        chance = self._world.chance
        metric_id = chance.choice(sorted(self._definitions.bodies))
        tenant = self._definitions.bodies[metric_id][0]
        found = self._auditor.cells(tenant, metric_id, None, (0, WINDOWS_END_US))
        require(not found.differences, f"the auditor finds {found.differences}")
        self._world.tell(f"audited {found.cells} cells of {metric_id}")

    def retire_replaced(self) -> None:
        """As its chore does: what no reader needs any more is not folded any more."""
        try:
            self._usage.retire_replaced()
        except LogUnavailable:
            self._world.tell("the end of a revision waits in the outbox")

    def _ask(self, queries: list[UsageQuery]) -> None:
        before = {query.metric_id: self._filled(query)[-1:] for query in queries}
        try:
            usage = self._usage.usage(*queries)
        except StoreUnavailable as exc:
            self._world.tell(f"a reader gave up: {exc}")
            return
        self._world.tell(f"read {[(q.metric_id, len(u.rows)) for q, u in zip(queries, usage, strict=True)]}")
        revisions = {}
        for query in queries:
            filled, newest = self._filled(query), before[query.metric_id]
            revisions[query.metric_id] = filled[filled.index(newest[0]) :] if newest else filled
        self.cuts.append(Cut(tuple(queries), usage, revisions))

    def _filled(self, query: UsageQuery) -> list[str]:
        """The revisions of a metric that every partition is filled with, oldest first."""
        definition = self._definitions.metrics.find(query.tenant, query.metric_id)
        assert definition is not None
        fills, partitions = self._tables.fills(None), range(self._world.plan.partitions)
        known = [revision.metric.id for revision in definition.history]
        return [id for id in known if all(fills.get((partition, id)) == FILLED_US for partition in partitions)]

    def _query(self, tenant: str, metric_id: str) -> UsageQuery:
        chance = self._world.chance
        metric = self._definitions.metrics.find(tenant, metric_id)
        assert metric is not None
        names = metric.metric.group_keys
        by = tuple(name for name in names if chance.random() < 0.6)
        filtered = [name for name in names if chance.random() < 0.2]
        return UsageQuery(
            tenant=tenant,
            metric_id=metric_id,
            customers=tuple(chance.sample(CUSTOMERS, chance.randrange(1, 4))),
            spans=self._spans(),
            group_by=by,
            filters=tuple((name, (chance.choice(["a", "eu"]), None)) for name in filtered),
            by_customer_key=chance.random() < 0.5,
        )

    def _spans(self) -> tuple[Span, ...]:
        """Disjoint spans in order, of some of which an end falls into a window."""
        chance, now = self._world.chance, self._world.now()
        if chance.random() < 0.3:
            return self._ragged_spans(chance.randrange(1, 4))
        quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
        start = quarter - timedelta(minutes=15 * chance.randrange(chance.choice([200, 4_000])))
        edges: list[datetime] = [start]
        for _ in range(2 * chance.randrange(1, 3) - 1):
            ragged = timedelta(seconds=chance.randrange(900)) if chance.random() < 0.4 else timedelta()
            last = edges[-1].replace(minute=edges[-1].minute // 15 * 15, second=0, microsecond=0)
            edges.append(last + timedelta(minutes=15 * chance.randrange(1, chance.choice([5, 400, 4_000]))) + ragged)
        return tuple(Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True))

    def _ragged_spans(self, back: int) -> tuple[Span, ...]:
        """The times at which most events were, in spans that hold no whole window: all is read from stored events."""
        last = self._world.now_us // HOT_US
        starts = [from_us(n * HOT_US) for n in range(last - back, last + 1)]
        cuts = [timedelta(minutes=minutes) for minutes in (0, 14, 29, 44)]
        return tuple(Span(start + a, start + b) for start in starts for a, b in pairwise(cuts))
