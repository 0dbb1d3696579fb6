"""A model that is added to the registry can be priced, explained and listed without a change anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from builders import to_json
from penstock.kernel.charge import Part
from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.price import AnyPrice, PerUnit, Price
from penstock.kernel.problems import Problem
from penstock.kernel.quantity import ZERO
from penstock.rater import price_body
from penstock.rater.price_answer import price_anything, replay, view
from penstock.rater.pricing import catalogue, models
from penstock.rater.pricing.priced import Priced, summed
from penstock.rater.pricing.used import Groups


class Dimension(msgspec.Struct, frozen=True):
    region: str | None
    unit_price: Decimal
    minimum: Decimal | None = None


class ByRegion(Price, frozen=True, tag="TEST_BY_REGION"):
    """Each region has its price. What else is said is left out."""

    regions: tuple[Dimension, ...]
    default: Decimal = ZERO


class ByEvent(Price, frozen=True, tag="TEST_BY_EVENT"):
    """Events bring their price."""

    factor: Decimal


class Twice(Price, frozen=True, tag="TEST_TWICE"):
    """Twice what the price inside says."""

    price: PerUnit | ByEvent
    others: tuple[PerUnit, ...] = ()
    by_name: dict[str, PerUnit] = msgspec.field(default_factory=dict)


def by_region(price: ByRegion, groups: Groups) -> Priced:
    prices = {dimension.region: dimension.unit_price for dimension in price.regions}
    lines = [(dict(values).get("region"), quantity) for values, quantity in groups.items()]
    charged = [(region, quantity, prices.get(region, price.default)) for region, quantity in lines]
    return summed(Part("cell", quantity, each, quantity * each, key=(region,)) for region, quantity, each in charged)


def by_event(price: ByEvent, events: Sequence[UsedEvent]) -> Priced:
    return summed(_event(price, event) for event in events)


def _event(price: ByEvent, event: UsedEvent) -> Part:
    if event.rate is None:
        raise ValueError(f"event {event.id} brings no rate")
    return Part("event", event.quantity, event.rate, event.quantity * event.rate * price.factor, key=(event.id,))


def twice(price: Twice, total: Decimal) -> Priced:
    held = [price.price, *price.others, *price.by_name.values()]
    inner = [models.amount_of_total(one, 2 * total) for one in held]
    return summed(part for priced in inner for part in priced.parts)


@pytest.fixture(autouse=True)
def _new_models(monkeypatch: pytest.MonkeyPatch) -> None:
    new: list[Any] = [ByRegion, ByEvent, Twice]
    for model in new:
        monkeypatch.setitem(catalogue.MODELS, str(model.__struct_config__.tag), model)
    monkeypatch.setitem(models.GROUPS, new[0], by_region)
    monkeypatch.setitem(models.EVENTS, new[1], by_event)
    monkeypatch.setitem(models.TOTALS, new[2], twice)
    monkeypatch.setattr(price_body, "AnyPrice", AnyPrice | ByRegion | ByEvent | Twice)


BY_REGION: dict[str, Any] = {
    "model": "TEST_BY_REGION",
    "regions": [{"region": "west", "unit_price": 2}],
    "default": "3.00",
}
BY_EVENT: dict[str, Any] = {"model": "TEST_BY_EVENT", "factor": 1}
PER_UNIT: dict[str, Any] = {"model": "PER_UNIT", "unit_price": "0.5"}
TWICE: dict[str, Any] = {"model": "TEST_TWICE", "price": PER_UNIT, "others": [PER_UNIT], "by_name": {"a": PER_UNIT}}
EVENTS = [
    {"id": "late", "timestamp": "2026-07-01T12:00:00Z", "quantity": 40, "rate": "0.25"},
    {"id": "early", "timestamp": "2026-07-01T13:00:00+02:00", "quantity": 80, "rate": "0.5"},
]
GROUPS = [{"values": {"region": "west"}, "quantity": 80}, {"values": {"region": "east"}, "quantity": 40}]


def answer(**fields: object) -> dict[str, Any]:
    told = view(price_anything(to_json(fields)))
    assert Decimal(told["amount"]) == replay(told["explanation"])
    return told


def refused(**fields: object) -> tuple[int, str | None, str]:
    with pytest.raises(Problem) as problem:
        price_anything(to_json(fields))
    return problem.value.status, problem.value.field, problem.value.detail


def test_a_model_that_reads_groups_is_given_them_and_names_them_in_its_parts() -> None:
    told = answer(price=BY_REGION, groups=GROUPS)

    assert told["amount"] == "280.00"
    assert [part["key"] for part in told["explanation"]["parts"]] == [["west"], ["east"]]


def test_a_model_that_reads_events_is_given_them_by_time() -> None:
    told = answer(price=BY_EVENT, events=EVENTS)

    assert told["amount"] == "50.00"
    assert [part["key"] for part in told["explanation"]["parts"]] == [["early"], ["late"]]


def test_prices_inside_a_price_are_in_its_currency_and_shown_without_it() -> None:
    told = answer(price=TWICE, quantity=3, currency="KWD")

    assert (told["amount"], told["currency"]) == ("9.000", "KWD")
    assert told["explanation"]["price"]["price"] == PER_UNIT
    assert told["explanation"]["price"]["others"] == [PER_UNIT]


def test_a_model_that_reads_more_than_is_given_says_what_it_reads() -> None:
    status, field, detail = refused(price=BY_EVENT, quantity=120)

    assert (status, field) == (422, "events")
    assert "TEST_BY_EVENT reads events, but only quantity is given" in detail


def test_what_a_model_misses_in_an_event_is_said_by_the_model() -> None:
    without = [{"id": "e1", "timestamp": "2026-07-01T12:00:00Z", "quantity": 1}]

    assert refused(price=BY_EVENT, events=without) == (422, "events", "event e1 brings no rate")


@pytest.mark.parametrize(
    ("price", "status", "field"),
    [
        ({**BY_REGION, "regions": [{"region": "west"}]}, 400, "price.regions[0].unit_price"),
        ({**BY_REGION, "regions": [{"region": "west", "unit_price": "1e60"}]}, 400, "price.regions[0].unit_price"),
        ({**BY_REGION, "regions": [{"region": "west", "unit_price": -1}]}, 422, "price.regions[0].unit_price"),
        ({**BY_REGION, "regions": [{"region": "west", "unit_price": 1, "max": 1}]}, 400, "price.regions[0].max"),
        ({**TWICE, "by_name": {"a": {**PER_UNIT, "unit_price": -1}}}, 422, "price.by_name.a.unit_price"),
        ({**TWICE, "price": {"model": "BARTER"}}, 422, "price.price.model"),
        ({**TWICE, "price": {**PER_UNIT, "unit_prize": 1}}, 400, "price.price.unit_prize"),
        ({**TWICE, "others": [PER_UNIT, {"model": "PER_UNIT"}]}, 400, "price.others[1].unit_price"),
    ],
)
def test_what_is_wrong_deep_inside_a_price_is_refused_by_field(price: object, status: int, field: str) -> None:
    assert (status, field) == refused(price=price, quantity=1)[:2]


def test_the_table_of_models_tells_what_each_reads_and_takes() -> None:
    rows = catalogue.models_table().splitlines()

    assert (
        "| `TEST_BY_REGION` | groups | Each region has its price. What else is said is left out. | "
        "`regions` (each `region` or null, `unit_price`, `minimum` = null), `default` = 0 |"
    ) in rows
    assert "| `TEST_BY_EVENT` | events | Events bring their price. | `factor` |" in rows
    assert (
        "| `TEST_TWICE` | quantity | Twice what the price inside says. | "
        "`price` (a price), `others` (a price) = [], `by_name` (a price) = {} |"
    ) in rows
