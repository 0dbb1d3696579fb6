"""From the log to charges at prices that read groups and events: the order and the records of events change nothing."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import TENANT, Body, a_chunk, a_sum_body, an_event, to_json, yesterday
from penstock.aggregator import shapes
from penstock.aggregator.consume import Owner
from penstock.aggregator.metered_events import MeteredEvents
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.aggregator.usage import UsageService
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.charge import Charge
from penstock.kernel.clock import SystemClock
from penstock.kernel.contract import ContractTerms, Prioritization
from penstock.kernel.control import Control, encode_control
from penstock.kernel.money import USD
from penstock.kernel.quantity import exact
from penstock.kernel.record import Kind, Vector
from penstock.kernel.window import Span, to_us
from penstock.log.memory import MemoryLog
from penstock.rater.definitions import Product, ProductType, Rate, RateCard
from penstock.rater.price_answer import price_anything
from penstock.rater.price_body import read_price
from penstock.rater.run import RaterService
from penstock.rater.shelf import Shelf

DAY = yesterday()
PERIOD = Span(DAY, DAY + timedelta(hours=3))
NOW_US = to_us(DAY + timedelta(days=1))
TIERS = [{"up_to": "30", "unit_price": "0.5"}, {"up_to": None, "unit_price": "0.1"}]
REGION = {"keys": ["region"]}
PRICES: dict[str, Body] = {
    "matrix": {"model": "MATRIX", **REGION, "cells": [{"values": ["eu"], "unit_price": 2}], "default": 3},
    "each": {"model": "EACH_GROUP", **REGION, "price": {"model": "GRADUATED", "tiers": TIERS}},
    "percentage": {"model": "PERCENTAGE", "percent": "1.3", "fixed": "0.2", "free_events": 2, "free_amount": 25},
    "bps": {"model": "BPS", "bps": 250, "cap": "0.4"},
    "dynamic": {"model": "DYNAMIC", "default_rate": "0.07"},
    "largest": {"model": "LARGEST_GROUP", **REGION, "price": {"model": "BPS", "bps": 250, "cap": "0.4"}},
    "unit": {"model": "PER_UNIT", "unit_price": "0.07"},
    "linear": {"model": "PERCENTAGE", "percent": "7"},
}
# These are priced for all usage, and once more for each region by itself.
LINEAR = ("matrix", "dynamic", "unit", "linear")
REGIONS = ("eu", "us", None)

minutes = st.integers(0, 179 * 60_000_000).map(lambda us: DAY + timedelta(microseconds=us))
used = st.lists(
    st.tuples(
        minutes,
        st.integers(-40, 400).map(lambda n: Decimal(n) / 8),
        st.sampled_from(REGIONS),
        st.sampled_from([None, "0.25", 3]),
        st.sampled_from(["acme", "acme-alias", "other"]),
    ),
    min_size=1,
    max_size=12,
)


class Walk:
    """A log, an owner, and the rater over what it has folded."""

    def __init__(self) -> None:
        self.log = MemoryLog(1, clock_us=lambda: NOW_US)
        store, self.catalog = MemoryUsageStore(), MemoryCatalog()
        self._metrics = Metrics(MemoryCatalog(), SystemClock(), self._send)
        usage = UsageService(store, self._metrics, partitions=1)
        events = MeteredEvents(usage, store, lambda tenant, ids: ())
        self._store = store
        self.rater = RaterService(self.catalog, usage, SystemClock(), events)

    def _send(self, control: Control) -> Vector:
        return (asyncio.run(self.log.append(0, Kind.CONTROL, NOW_US, encode_control(control))).offset,)

    def define(self) -> str:
        body = a_sum_body("units")
        shape = shapes.MetricBody(body["name"], "SUM", "units", group_keys=[["region"]])

        def made(metric_id: str, control_id: str, now: Any) -> Definition:
            return Definition(shape.to_metric(metric_id, TENANT), now, control_id, shape.declared_group_keys())

        return self._metrics.create(TENANT, made).metric.id

    def fold(self, records: list[list[Body]]) -> None:
        async def play() -> None:
            for events in records:
                await self.log.append(0, Kind.CHUNK, NOW_US, a_chunk(events).encode())
            owner = Owner(0, self.log, self._store, retention_us=10**15)
            await owner.restore()
            while await owner.step(0) or await owner.fill():
                pass

        asyncio.run(play())


def charges_of(records: list[list[Body]], turn: datetime, cuts: frozenset[datetime]) -> tuple[Charge, ...]:
    """Every product has its price before `turn` and after it: two charges."""
    walk = Walk()
    metric = walk.define()
    walk.fold(records)
    shelf = Shelf(walk.catalog)
    shelf.add_rate_card(TENANT, RateCard("card", "Card", DAY, "key"), ())
    for name, price in PRICES.items():
        for keys in [(), ("region",)] if name in LINEAR else [()]:
            product = f"{name}-by-region" if keys else name
            kind = ProductType.USAGE
            shelf.add_product(TENANT, Product(product, product, kind, DAY, "key", metric, pricing_group_key=keys))
            read = read_price(json.loads(to_json(price), parse_float=Decimal), USD)
            for half, at in enumerate((DAY, turn)):
                for region in REGIONS if keys else [None]:
                    values = (("region", region),) if keys else ()
                    rate = Rate(f"{product}-{half}-{region}", "card", product, True, at, None, values, read)
                    shelf.add_rates(TENANT, [rate], DAY)
    terms = ContractTerms(
        tenant=TENANT,
        contract_id="contract",
        customer_id="acme",
        customer_keys=("acme", "acme-alias"),
        rate_card_id="card",
        start=DAY,
        end=None,
        overrides=(),
        prioritization=Prioritization.LOWEST_MULTIPLIER,
    )
    return walk.rater.charges(terms, PERIOD, cuts).charges


def what_is_billed(charges: tuple[Charge, ...]) -> list[tuple[object, ...]]:
    """Without the ids and the vector, which tell of the log."""
    return [
        (c.product_id, c.group_values, c.span, c.quantity, *(getattr(c.alternatives[0], name) for name in TOLD))
        for c in charges
    ]


TOLD = ("exact", "amount", "parts", "slices", "groups")


@settings(max_examples=25, deadline=None)
@given(used, minutes, st.sets(minutes, max_size=3), st.integers(0, 2**32), st.integers(1, 12))
@exact
def test_the_order_and_the_records_in_which_events_come_change_no_charge(
    used: list[tuple[Any, ...]], turn: datetime, cuts: set[datetime], seed: int, size: int
) -> None:
    events = [
        an_event(f"e{n}", customer_id=customer, at=at, properties={"units": units, "region": region, "rate": rate})
        for n, (at, units, region, rate, customer) in enumerate(used)
    ]
    shuffled = random.Random(seed).sample(events, len(events))

    charges = charges_of([events], turn, frozenset(cuts))
    again = charges_of([shuffled[n : n + size] for n in range(0, len(events), size)], turn, frozenset(cuts))

    assert what_is_billed(charges) == what_is_billed(again)
    for charge in charges:
        listed = charge.alternatives[0]
        answer = price_anything(to_json(charge))
        assert (answer.priced.amount, answer.amount) == (listed.exact, listed.amount)
        assert sum(piece.amount for piece in listed.slices) == listed.amount
    for name in LINEAR:
        sums = [
            sum(c.alternatives[0].exact for c in charges if c.product_id == product)
            for product in (name, f"{name}-by-region")
        ]
        assert sums[0] == sums[1], name
    by_unit = [sum(c.alternatives[0].exact for c in charges if c.product_id == name) for name in ("unit", "linear")]
    naive = sum(event["properties"]["units"] for event in events if event["customer_id"] != "other") * Decimal("0.07")
    assert by_unit == [naive, naive]
