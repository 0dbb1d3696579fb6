"""The rater in a process: products, rate cards and rates, and what usage costs."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.app.adapters import Tables
from penstock.app.common import Common
from penstock.app.health import Check
from penstock.app.part import Part
from penstock.app.services import BACKTESTING, RATING
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.siblings import EventReader, UsageReader
from penstock.rater.backtest.run import BacktestService
from penstock.rater.http_api import routes as rater_routes
from penstock.rater.run import RaterService
from penstock.rpc.server import Served
from penstock.web.route import Route


class RaterPart(Part):
    """`usage` and `events` are the aggregator, here or elsewhere."""

    def __init__(
        self, common: Common, tables: Tables, catalog: Catalog, usage: UsageReader, events: EventReader
    ) -> None:
        self._clock, self._tables, self._catalog = common.clock, tables, catalog
        self._usage, self._events = usage, events
        self.rating = RaterService(catalog, usage, common.clock, events)
        self.backtesting = BacktestService(catalog, usage, self.rating)

    @classmethod
    async def open(cls, common: Common, usage: UsageReader, events: EventReader) -> RaterPart:
        tables = Tables(common.config, "rater")
        return cls(common, tables, await tables.catalog(), usage, events)

    def routes(self) -> Sequence[Route]:
        return rater_routes(self._catalog, self._usage, self._clock, self._events)

    def served(self) -> Sequence[Served]:
        return [(RATING, self.rating), (BACKTESTING, self.backtesting)]

    def checks(self) -> Sequence[Check]:
        return [] if self._tables.database is None else [Check("rater tables", self._tables.look)]

    def close(self) -> None:
        self._tables.close()
