"""Rater and contracts against the reference model: for any rates, overrides and commits the same invoice to the cent.

Both are told in the words of the API. Usage comes from the reference model too, so that only pricing, draw-down and the
reading of requests are compared; nothing but the store and the log is left out.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import reference
from builders import Body, a_commit_body, a_metric, a_metric_body, a_rate_body, a_sum_body, an_event, to_json
from penstock.catalog.memory import MemoryCatalog
from penstock.contracts.http_api import ContractsService
from penstock.contracts.store.memory import MemoryLedger
from penstock.kernel.meter import Metric
from penstock.kernel.metered_event import EventPage, EventPlace, EventSource
from penstock.kernel.usage import Usage, UsageQuery, UsageRow
from penstock.rater.http_api import routes as rater_routes
from penstock.rater.run import RaterService
from penstock.web.route import Principal, Request, Router, Scope

MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 20, 12, tzinfo=UTC)
WRITER = Principal("tenant-1", "key-1", frozenset({Scope.WRITE}))
METRICS: dict[str, Body] = {
    "units": a_sum_body("units", group_keys=[["model"]]),
    "calls": a_metric_body("calls"),
    "users": a_metric_body("users", "UNIQUE", aggregation_key="user"),
    "peak": a_metric_body("peak", "MAX", aggregation_key="units"),
}
PRODUCTS: dict[str, Body] = {
    "Tokens": {"billable_metric_id": "units", "pricing_group_key": ["model"], "tags": ["metered"]},
    "Calls": {"billable_metric_id": "calls", "tags": ["metered", "calls"]},
    "Users": {"billable_metric_id": "users"},
    "Peak": {"billable_metric_id": "peak"},
}


class ReferenceUsage:
    """The port of the aggregator, answered by the reference model."""

    def __init__(self, events: list[Body]) -> None:
        self._events = events

    def metric(self, tenant: str, metric_id: str) -> Metric | None:
        return a_metric(metric_id, METRICS[metric_id], tenant)

    def settled(self, through: datetime) -> bool:
        return False

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        return tuple(Usage(tuple(self._rows(query)), (0,)) for query in queries)

    def _rows(self, query: UsageQuery) -> list[UsageRow]:
        mine = [event for event in self._events if event["customer_id"] in query.customers]
        rows = []
        for span in query.spans:
            found = reference.usage(METRICS[query.metric_id], mine, span.start, span.end, "NONE", query.group_by)
            rows += [UsageRow(span, groups, value, 1) for (_, groups), value in found.items()]
        return rows

    def events(self, tenant: str, source: EventSource, after: EventPlace | None, limit: int) -> EventPage:
        raise AssertionError("no price here reads events")


class FixedClock:
    def now(self) -> datetime:
        return NOW


class Billing:
    """Rater and contracts in this process, asked by their routes."""

    def __init__(self, events: list[Body]) -> None:
        catalog, usage, clock = MemoryCatalog(), ReferenceUsage(events), FixedClock()
        rater = RaterService(catalog, usage, clock, usage)
        contracts = ContractsService(MemoryCatalog(), MemoryLedger(), rater, usage, clock, None)
        self._router = Router([*rater_routes(catalog, usage, clock, usage), *contracts.routes()])

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON, numbers exact."""
        found = self._router.find(method, path)
        assert found is not None, path
        route, parts = found
        answer = route.handler(Request(WRITER, parts, {}, b"" if body is None else to_json(body)))
        return json.loads(to_json(answer), parse_float=Decimal)

    def make(self, path: str, body: Mapping[str, Any]) -> str:
        """The id of what is created."""
        return str(self.ask("POST", path, body)["data"]["id"])


# Instants at which anything may begin or end; events fall on them, beside them and between them.
turns = st.sampled_from([MAY + timedelta(days=each) for each in (0, 3, 9.5, 20, 31, 40, 45.75)])
instants = st.one_of(
    turns,
    turns.map(lambda at: at - timedelta(microseconds=1)),
    st.integers(0, 60 * 24 * 4).map(lambda quarter: MAY + timedelta(minutes=15 * quarter)),
).filter(lambda at: MAY <= at < NOW)
numbers = st.integers(1, 400).map(lambda n: Decimal(n) / 8)
factors = st.integers(0, 12).map(lambda n: Decimal(n) / 8)
ends = st.one_of(st.none(), turns.filter(lambda at: at > MAY))
models = st.sampled_from(["a", "b"])


@st.composite
def events(draw: st.DrawFn) -> list[Body]:
    ats = draw(st.lists(instants, min_size=2, max_size=14))
    return [
        an_event(
            f"event-{n}",
            customer_id=draw(st.sampled_from(["acme", "acme", "else"])),
            at=at,
            properties={"units": draw(numbers), "model": draw(models), "user": draw(st.sampled_from("xyz"))},
        )
        for n, at in enumerate(ats)
    ]


@st.composite
def tier_list(draw: st.DrawFn, value: str, values: st.SearchStrategy[Decimal]) -> list[Body]:
    widths = draw(st.lists(st.integers(1, 60), max_size=2))
    return [*({value: draw(values), "size": width} for width in widths), {value: draw(values)}]


@st.composite
def dated(draw: st.DrawFn, body: Body) -> Body:
    """The body with a start and perhaps an end."""
    start, end = draw(turns), draw(ends)
    body = body | {"starting_at": start}
    return body | {"ending_before": end} if end is not None and end > start else body


@st.composite
def prices(draw: st.DrawFn) -> Body:
    if draw(st.booleans()):
        return {"rate_type": "FLAT", "price": draw(numbers)}
    return {"rate_type": "TIERED", "tiers": draw(tier_list("price", numbers))}


@st.composite
def rates(draw: st.DrawFn, ids: Mapping[str, str]) -> list[Body]:
    """At least one rate for most products and groups, some that replace it for a while."""
    names = ["Tokens", "Tokens", "Calls", "Users", "Peak"]
    out = []
    for name in [*names, *draw(st.lists(st.sampled_from(names), max_size=5))]:
        groups = {"pricing_group_values": {"model": draw(models)}} if name == "Tokens" else {}
        entitled = draw(st.integers(0, 7)) > 0
        rate = a_rate_body(ids[name], MAY, **draw(prices()), **groups) | {"entitled": entitled}
        out.append(draw(dated(rate)))
    return out


@st.composite
def overrides(draw: st.DrawFn, ids: Mapping[str, str]) -> list[Body]:
    out = []
    for place in range(draw(st.integers(0, 3))):
        target: Body = draw(
            st.sampled_from(
                [
                    {},
                    {"product_id": ids["Tokens"]},
                    {"applicable_product_tags": ["metered"]},
                    {"override_specifiers": [{"product_id": ids["Tokens"], "pricing_group_values": {"model": "a"}}]},
                    {"override_specifiers": [{"product_tags": ["calls"]}, {"product_id": ids["Users"]}]},
                ]
            )
        )
        kind = draw(st.sampled_from(["MULTIPLIER", "OVERWRITE", "TIERED"]))
        price: Any = {
            "MULTIPLIER": {"multiplier": draw(factors)},
            "OVERWRITE": {"overwrite_rate": draw(prices())},
            "TIERED": {"tiers": draw(tier_list("multiplier", factors))},
        }[kind]
        out.append(draw(dated({"type": kind, "priority": place, **target, **price})))
    return draw(st.permutations(out))


@st.composite
def commits(draw: st.DrawFn, ids: Mapping[str, str]) -> list[Body]:
    out = []
    for number in range(draw(st.sampled_from([0, 1, 2, 2, 3]))):
        edges = sorted(draw(st.sets(turns, min_size=2, max_size=4)))
        commit = a_commit_body(ids["Tokens"], 0, MAY, JUNE, name=f"commit-{number}")
        commit["access_schedule"]["schedule_items"] = [
            {"amount": draw(st.integers(1, 3_000)), "starting_at": start, "ending_before": end}
            for start, end in zip(edges[::2], edges[1::2], strict=False)
        ]
        scope: Body = draw(
            st.sampled_from(
                [
                    {},
                    {"applicable_product_ids": [ids["Tokens"], ids["Users"]]},
                    {"applicable_product_ids": [ids["Calls"]]},
                    {"applicable_product_tags": ["metered"]},
                ]
            )
        )
        priority: Body = draw(st.sampled_from([{}, {"priority": 1}, {"priority": 2}]))
        out.append(commit | scope | priority)
    return out


@st.composite
def contracts(draw: st.DrawFn, ids: Mapping[str, str]) -> Body:
    terms = {"overrides": draw(overrides(ids)), "commits": draw(commits(ids))}
    order = draw(st.sampled_from(["LOWEST_MULTIPLIER", "EXPLICIT"]))
    return draw(dated({"multiplier_override_prioritization": order, **terms}))


@given(events(), st.data())
def test_invoices_and_balance_equal_the_reference_models(sent: list[Body], data: st.DataObject) -> None:
    billing = Billing(sent)
    ids = {name: billing.make("/v1/contract-pricing/products/create", a_product(name)) for name in PRODUCTS}
    listed, contract = data.draw(rates(ids)), data.draw(contracts(ids))
    card = billing.make("/v1/contract-pricing/rate-cards/create", {"name": "List prices"})
    for rate in listed:  # one by one: of one call, none may stand in another's way
        billing.ask("POST", "/v1/contract-pricing/rate-cards/addRate", {"rate_card_id": card, **rate})
    customer = billing.make("/v1/customers", {"name": "Acme", "ingest_aliases": ["acme"]})
    billing.make("/v1/contracts/create", {"customer_id": customer, "rate_card_id": card, **contract})
    products = {ids[name]: body for name, body in PRODUCTS.items()}
    world = reference.World(sent, {"acme"}, METRICS, products, listed, contract)

    invoices = billing.ask("GET", f"/v1/customers/{customer}/invoices")["data"]
    balance = billing.ask("POST", "/v1/contracts/customerBalances/getNetBalance", {"customer_id": customer})

    names = {place: name for name, place in ids.items()}
    assert [bill_of(invoice) for invoice in invoices] == [expected_bill(i, names) for i in world.invoices(NOW)[0]]
    assert balance["data"]["balance"] == world.net_balance(NOW)


def a_product(name: str) -> Body:
    return {"name": name, "type": "USAGE", **PRODUCTS[name]}


# Start and end, cents by (product, model, start of the charge), cents paid by (commit, product), total.
Bill = tuple[datetime, datetime, dict[Any, Decimal], dict[Any, Decimal], Decimal]


def bill_of(invoice: Any) -> Bill:
    charged: dict[Any, Decimal] = defaultdict(Decimal)
    paid: dict[Any, Decimal] = defaultdict(Decimal)
    for line in invoice["line_items"]:
        if line["type"] == "usage":
            model = (line["pricing_group_values"] or {}).get("model")
            charged[line["name"], model, reference.instant(line["starting_at"])] += line["total"]
        else:
            product, _, commit = line["name"].removesuffix(" applied)").partition(" (")
            paid[commit, product] -= line["total"]
    start, end = (reference.instant(invoice[name]) for name in ("start_timestamp", "end_timestamp"))
    return start, end, dict(charged), dict(paid), Decimal(invoice["total"])


def expected_bill(invoice: reference.Invoice, names: Mapping[str, str]) -> Bill:
    charged = {(names[c.product_id], c.groups.get("model"), c.start): c.total for c in invoice.charges}
    paid: dict[Any, Decimal] = defaultdict(Decimal)
    for commit, product_id, cents in invoice.draws:
        paid[commit, names[product_id]] += cents
    return invoice.start, invoice.end, charged, dict(paid), invoice.total
