"""Every route of the contracts service, and the object that the board wires."""

from __future__ import annotations

from penstock.contracts.balances_api import BalancesApi
from penstock.contracts.clock import TestClock
from penstock.contracts.clock_api import ClockApi
from penstock.contracts.close import PoolLocks
from penstock.contracts.contracts_api import ContractsApi
from penstock.contracts.customers import CustomerBook
from penstock.contracts.customers_api import CustomersApi
from penstock.contracts.invoices_api import InvoicesApi
from penstock.contracts.service import Contracts
from penstock.contracts.trials_api import TrialsApi
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.ledger import Ledger, Pools
from penstock.kernel.ports.siblings import Backtesting, Rating, UsageReader
from penstock.web.route import Route


class ContractsService:
    """`clock` is the time that contracts see: the test clock itself where there is one.

    Without `pools` this process is the only one that works on the ledger.
    """

    def __init__(
        self,
        catalog: Catalog,
        ledger: Ledger,
        rating: Rating,
        usage: UsageReader,
        clock: Clock,
        test_clock: TestClock | None,
        pools: Pools | None = None,
    ) -> None:
        pools = pools or PoolLocks()
        self._contracts = Contracts(catalog, ledger, rating, usage, test_clock or clock, test_clock, pools)

    @property
    def customers(self) -> CustomerBook:
        """An implementation of the `Customers` port."""
        return self._contracts.customers

    def routes(self) -> list[Route]:
        apis = (CustomersApi, ContractsApi, BalancesApi, InvoicesApi, ClockApi)
        return [route for api in apis for route in api(self._contracts).routes()]

    def trial_routes(self, trials: Backtesting) -> list[Route]:
        """Previews and backtests, which `trials` prices."""
        return TrialsApi(self._contracts, trials).routes()

    def finalize_due(self) -> int:
        """Close every period that is due; return how many invoices became final. Call it every few seconds."""
        return self._contracts.closing.finalize_due()

    def recover(self) -> None:
        """Book what a crash left stored but not booked. Call it once, before the first request."""
        self._contracts.closing.recover()
