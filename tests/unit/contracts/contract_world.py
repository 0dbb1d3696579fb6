"""A contracts service in a faked world: usage at fixed prices, a clock to set, and the vendor's SDK on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import metronome
import msgspec

from penstock.catalog.memory import MemoryCatalog
from penstock.contracts.clock import TestClock
from penstock.contracts.http_api import ContractsService
from penstock.contracts.store.memory import MemoryLedger
from penstock.kernel.card_units import CardUnits
from penstock.kernel.charge import Alternative, Charge, ChargeSet, Slice
from penstock.kernel.contract import ContractTerms
from penstock.kernel.meter import Metric
from penstock.kernel.money import USD, Unit, round_to_step
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.ledger import Ledger, Pools
from penstock.kernel.price import PerUnit
from penstock.kernel.problems import NotFound, Problem
from penstock.kernel.usage import Usage, UsageQuery
from penstock.kernel.window import Span
from penstock.web.problem import problem_response
from penstock.web.route import OPERATOR_TENANT, Principal, Request, Response, Router, Scope

ZERO = Decimal(0)
_JSON = msgspec.json.Encoder(decimal_format="number")
_EXACT = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def day(number: int, month: int = 1, hour: int = 0) -> datetime:
    """An instant of 2026."""
    return datetime(2026, month, number, hour, tzinfo=UTC)


class FakeClock:
    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time


class FakeUsage:
    """Everything is folded up to `folded_through`."""

    def __init__(self) -> None:
        self.folded_through = datetime(9999, 1, 1, tzinfo=UTC)
        self.asked: list[datetime] = []

    def metric(self, tenant: str, metric_id: str) -> Metric | None:
        return None

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        return tuple(Usage((), ()) for _ in queries)

    def settled(self, through: datetime) -> bool:
        self.asked.append(through)
        return through <= self.folded_through


class FakeRating:
    """Products at a price per unit, dollars unless `priced_in`; `use` adds usage. A card `card-1`, alias `standard`."""

    def __init__(self) -> None:
        self.prices = {"api": Decimal("0.05"), "gpu": Decimal(2)}
        self.tags: dict[str, tuple[str, ...]] = {"api": ("llm",), "gpu": ()}
        self.used: list[tuple[str, str, datetime, Decimal]] = []
        self.priced: dict[str, frozenset[str]] = {}
        self.seen: list[ContractTerms] = []
        self.units = CardUnits()
        self.priced_in: dict[str, Unit] = {}

    def use(self, customer_key: str, product: str, at: datetime, quantity: int | str) -> None:
        self.used.append((customer_key, product, at, Decimal(quantity)))

    def rate_card_id(self, tenant: str, id: str | None, alias: str | None) -> str:
        if id in ("card-1", "card-2") or alias == "standard":
            return id or "card-1"
        raise NotFound(f"no rate card {id or alias!r}")

    def units_of(self, tenant: str, rate_card_id: str) -> CardUnits:
        return self.units

    def metrics_of(self, tenant: str, rate_card_id: str) -> frozenset[str]:
        return self.priced.get(rate_card_id, frozenset())

    def product_names(self, tenant: str, product_ids: Sequence[str]) -> dict[str, str]:
        for id in product_ids:
            if id not in self.tags:
                raise NotFound(f"no product {id!r}")
        return {id: f"Product {id}" for id in product_ids}

    def charges(self, terms: ContractTerms, period: Span, cuts: frozenset[datetime]) -> ChargeSet:
        self.seen.append(terms)
        charges = [self._charge(terms, product, period, cuts) for product in self.prices]
        found = tuple(charge for charge in charges if charge is not None)
        return ChargeSet(terms.contract_id, period, (7, 9), found, units=self.units)

    def _charge(self, terms: ContractTerms, product: str, period: Span, cuts: frozenset[datetime]) -> Charge | None:
        spans = period.cut(set(cuts))
        mine = [(at, n) for key, p, at, n in self.used if key in terms.customer_keys and p == product and at in period]
        if not mine:
            return None
        amounts = [sum((n for at, n in mine if at in span), ZERO) for span in spans]
        unit, used = self.priced_in.get(product, self.units.fiat), list(zip(spans, amounts, strict=True))
        return a_charge(product, used, self.prices[product], tags=self.tags[product], unit=unit)


def a_charge(
    product: str,
    used: Sequence[tuple[Span, Decimal]],
    unit_price: Decimal,
    *,
    tags: tuple[str, ...] = (),
    contract_id: str = "contract-1",
    unit: Unit = USD,
) -> Charge:
    """A per-unit charge with one slice per span: differences of the rounded running amount."""
    slices, running, rounded = [], ZERO, ZERO
    for span, quantity in used:
        running += quantity
        reached = round_to_step(running * unit_price, unit)
        slices.append(Slice(span, quantity, reached - rounded))
        rounded = reached
    price = PerUnit(unit, unit_price)
    origin = {"rate_card_id": "card-1"}
    listed = Alternative("list", price, origin, ZERO, running * unit_price, rounded, (), tuple(slices))
    span = Span(used[0][0].start, used[-1][0].end)
    return Charge(contract_id, product, product.upper(), tags, "metric-1", (), span, unit, running, (listed,))


class World:
    """The service, what is around it, and two ways to call it: `call` (raw) and `sdk` (the vendor's client, strict)."""

    def __init__(
        self,
        now: datetime,
        *,
        test_clock: bool = False,
        catalog: Catalog | None = None,
        ledger: Ledger | None = None,
        pools: Pools | None = None,
    ) -> None:
        self.clock = FakeClock(now)
        self.catalog: Catalog = catalog or MemoryCatalog()
        self.ledger: Ledger = ledger or MemoryLedger()
        self.pools = pools
        self.rating = FakeRating()
        self.usage = FakeUsage()
        self.restart(test_clock=test_clock)

    def restart(self, *, test_clock: bool = False) -> None:
        """A new process on the same stores."""
        ahead = TestClock(self.clock, self.catalog) if test_clock else None
        self.service = ContractsService(
            self.catalog, self.ledger, self.rating, self.usage, self.clock, ahead, self.pools
        )
        self.service.recover()
        self._router = Router(self.service.routes())
        self.sdk = metronome.Metronome(
            bearer_token="key",
            base_url="http://penstock.test",
            http_client=httpx.Client(transport=httpx.MockTransport(self._answer)),
            max_retries=0,
            _strict_response_validation=True,
        )

    def call(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer's JSON with exact numbers. Raise `Problem` where the service does."""
        payload = b"" if body is None else _JSON.encode(body)
        answer = self._handle(method, path, payload, query or {})
        decoded: dict[str, Any] = _EXACT.decode(_JSON.encode(answer))
        return decoded

    def customer(self, name: str = "Acme", *aliases: str) -> str:
        id: str = self.call("POST", "/v1/customers", {"name": name, "ingest_aliases": list(aliases)})["data"]["id"]
        return id

    def contract(self, customer: str, **terms: Any) -> dict[str, Any]:
        """Create a contract from 1 January 2026 on the card; return it as the v2 API shows it."""
        body = {"customer_id": customer, "rate_card_id": "card-1", "starting_at": day(1), **terms}
        contract: dict[str, Any] = self.call("POST", "/v1/contracts/create", body)["data"]["contract"]
        return contract

    def invoices(self, customer: str, **query: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.call("GET", f"/v1/customers/{customer}/invoices", query=query)["data"]
        return rows

    def _handle(self, method: str, path: str, body: bytes, query: Mapping[str, str]) -> Any:
        found = self._router.find(method, path)
        assert found is not None, f"{method} {path} has no route"
        route, parts = found
        tenant = OPERATOR_TENANT if path.startswith("/v1/test-clock") else "tenant-1"
        principal = Principal(tenant, "key-1", frozenset({Scope.ADMIN}))
        return route.handler(Request(principal, parts, query, body))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        """The service behind the SDK's transport."""
        try:
            answer = Response(self._handle(request.method, request.url.path, request.content, dict(request.url.params)))
        except Problem as problem:
            answer = problem_response(problem)
        content = answer.body if isinstance(answer.body, bytes) else _JSON.encode(answer.body)
        headers = dict(answer.headers) | {"content-type": answer.content_type}
        return httpx.Response(answer.status, content=content, headers=headers)


def a_commit(cents: int, start: datetime, end: datetime, **more: Any) -> dict[str, Any]:
    """A prepaid commit (or, without its type, a credit) of one segment."""
    item = {"amount": cents, "starting_at": start, "ending_before": end}
    return {"product_id": "api", "type": "PREPAID", "access_schedule": {"schedule_items": [item]}, **more}


def later(instant: datetime, **by: int) -> datetime:
    return instant + timedelta(**by)
