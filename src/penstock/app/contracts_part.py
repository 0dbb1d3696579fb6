"""The contracts service in a process: customers, contracts, balances, the ledger, and invoices when they are due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from penstock.app.adapters import Tables
from penstock.app.common import Common
from penstock.app.health import Check
from penstock.app.part import Chore, Part
from penstock.app.services import CUSTOMERS
from penstock.contracts.clock import TestClock
from penstock.contracts.http_api import ContractsService
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.ledger import Ledger, Pools
from penstock.kernel.ports.siblings import Backtesting, Rating, UsageReader
from penstock.rpc.server import Served
from penstock.web.route import Route


class ContractsPart(Part):
    """`rating` and `backtesting` are the rater and `usage` the aggregator, here or elsewhere."""

    def __init__(
        self,
        common: Common,
        tables: Tables,
        catalog: Catalog,
        ledger: Ledger,
        pools: Pools,
        rating: Rating,
        backtesting: Backtesting,
        usage: UsageReader,
    ) -> None:
        config, clock = common.config, common.clock
        self._tables, self._interval_ms = tables, config.finalize_interval_ms
        test_clock = TestClock(clock, catalog) if config.test_clock else None
        self._service = ContractsService(catalog, ledger, rating, usage, test_clock or clock, test_clock, pools)
        self.customers, self._backtesting = self._service.customers, backtesting

    @classmethod
    async def open(
        cls, common: Common, rating: Rating, backtesting: Backtesting, usage: UsageReader
    ) -> ContractsPart:
        tables = Tables(common.config, "contracts")
        catalog, ledger, pools = await tables.catalog(), await tables.ledger(), await tables.pools()
        return cls(common, tables, catalog, ledger, pools, rating, backtesting, usage)

    def routes(self) -> Sequence[Route]:
        return [*self._service.routes(), *self._service.trial_routes(self._backtesting)]

    def served(self) -> Sequence[Served]:
        return [(CUSTOMERS, self.customers)]

    def checks(self) -> Sequence[Check]:
        return [] if self._tables.database is None else [Check("contracts tables", self._tables.look)]

    def chores(self) -> Sequence[Chore]:
        return [Chore(self._interval_ms / 1000, self._service.finalize_due)]

    async def start(self, announce: Callable[[str], None]) -> None:
        await asyncio.to_thread(self._service.recover)

    def close(self) -> None:
        self._tables.close()
