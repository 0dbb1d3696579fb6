"""Any price on any usage, as a pure function of JSON: amounts, explanations that replay alone, refusals by field."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import to_json
from penstock.kernel.problems import Problem
from penstock.kernel.quantity import exact
from penstock.rater.price_answer import price_anything, replay, view
from penstock.rater.pricing import catalogue

Json = dict[str, Any]
GRADUATED: Json = {
    "model": "GRADUATED",
    "tiers": [{"up_to": 10, "unit_price": "0.5"}, {"up_to": None, "unit_price": "0.1"}],
}
WEST_AND_EAST = [{"values": {"region": "west"}, "quantity": 80}, {"values": {"region": "east"}, "quantity": 40}]


def per_unit(unit_price: object = "0.05") -> Json:
    return {"model": "PER_UNIT", "unit_price": unit_price}


def asked(price: Json = GRADUATED, **fields: object) -> Json:
    used = {} if {"quantity", "groups", "events"} & set(fields) else {"quantity": 120}
    return {"price": price, **used, **fields}


def an_event(id: str = "e1", timestamp: str = "2026-07-01T12:00:00Z", quantity: object = 100, **fields: object) -> Json:
    return {"id": id, "timestamp": timestamp, "quantity": quantity, **fields}


def answer(request: object) -> Json:
    return view(price_anything(to_json(request)))


def refused(body: bytes) -> tuple[int, str | None, str]:
    """The status, the field and the detail of the problem."""
    with pytest.raises(Problem) as problem:
        price_anything(body)
    return problem.value.status, problem.value.field, problem.value.detail


def test_tiers_on_a_quantity_answer_the_amount_and_how_it_came_about() -> None:
    """Example 47: 10 at 0.50 and 110 at 0.10."""
    assert answer(asked()) == {
        "amount": "16.00",
        "exact": "16",
        "currency": "USD",
        "explanation": {
            "price": {
                "model": "GRADUATED",
                "tiers": [{"up_to": "10", "unit_price": "0.5"}, {"up_to": None, "unit_price": "0.1"}],
            },
            "currency": "USD",
            "used": {"quantity": "120"},
            "parts": [
                {"what": "tier", "quantity": "10", "unit_price": "0.5", "amount": "5", "level": 1, "start": "0"},
                {"what": "tier", "quantity": "110", "unit_price": "0.1", "amount": "11", "level": 2, "start": "10"},
            ],
            "rounding": {"step": "0.01", "mode": "half away from zero", "difference": "0"},
        },
    }


def test_groups_and_events_are_added_up_for_a_model_that_reads_the_total() -> None:
    events = [an_event("e1", quantity="100.5"), an_event("e2", "2026-07-01T14:00:00+02:00", 19.5)]

    assert [answer(asked(groups=WEST_AND_EAST))["amount"], answer(asked(events=events))["amount"]] == ["16.00", "16.00"]


@pytest.mark.parametrize(
    ("currency", "amount", "step", "difference"),
    [
        ("USD", "0.13", "0.01", "0.005"),
        ("EUR", "0.13", "0.01", "0.005"),
        ("GBP", "0.13", "0.01", "0.005"),
        ("CHF", "0.13", "0.01", "0.005"),
        ("jpy", "0", "1", "-0.125"),
        ("KRW", "0", "1", "-0.125"),
        ("KWD", "0.125", "0.001", "0"),
        ("BHD", "0.125", "0.001", "0"),
        ({"name": "credits", "decimals": 0}, "0", "1", "-0.125"),
        ({"name": "credits", "decimals": 12}, "0.125000000000", "0.000000000001", "0"),
    ],
)
def test_an_amount_is_rounded_once_to_the_step_of_its_currency(
    currency: object, amount: str, step: str, difference: str
) -> None:
    told = answer(asked(per_unit("0.125"), quantity=1, currency=currency))

    rounding = told["explanation"]["rounding"]
    assert (amount, "0.125", step, difference) == (
        told["amount"],
        told["exact"],
        rounding["step"],
        rounding["difference"],
    )
    assert told["currency"] == (currency.upper() if isinstance(currency, str) else currency)


def test_half_a_step_below_zero_is_rounded_away_from_zero() -> None:
    assert answer(asked(per_unit("0.125"), quantity=-1))["amount"] == "-0.13"


def test_numbers_keep_every_digit_whether_they_are_written_as_numbers_or_as_text() -> None:
    body = b'{"price": {"model": "PER_UNIT", "unit_price": 0.000000000001}, "quantity": 98765432109876543210987654.321}'
    text = asked(per_unit("0.000000000001"), quantity="98765432109876543210987654.321")

    assert "98765432109876.543210987654321" == view(price_anything(body))["exact"] == answer(text)["exact"]


def test_a_model_and_a_currency_are_taken_in_any_case() -> None:
    told = answer(asked({"model": "per_unit", "unit_price": 2}, currency="eur"))

    assert (told["amount"], told["currency"], told["explanation"]["price"]["model"]) == ("240.00", "EUR", "PER_UNIT")


@pytest.mark.parametrize(
    "request_body",
    [
        asked(),
        asked(per_unit("0.333"), quantity="0.5", currency="JPY"),
        asked(groups=WEST_AND_EAST, currency={"name": "credits", "decimals": 3}),
        asked(events=[an_event("e2", values={"region": None}, rate="0.25"), an_event("e1")], currency="KWD"),
        asked(quantity=-3),
        asked(quantity=0),
    ],
)
def test_an_explanation_alone_comes_to_the_same_answer(request_body: Json) -> None:
    told = answer(request_body)

    explanation = json.loads(to_json(told["explanation"]))

    assert Decimal(told["amount"]) == replay(explanation)
    assert told == answer(explanation)


@given(
    st.decimals(min_value=-(10**20), max_value=10**20, places=12),
    st.decimals(min_value=0, max_value=10**9, places=12),
    st.integers(min_value=0, max_value=12),
)
@exact
def test_parts_sum_to_the_exact_amount_and_rounding_leads_to_the_amount(
    quantity: Decimal, unit_price: Decimal, decimals: int
) -> None:
    told = answer(asked(per_unit(unit_price), quantity=quantity, currency={"name": "unit", "decimals": decimals}))
    explanation = told["explanation"]
    rounding = {name: Decimal(explanation["rounding"][name]) for name in ("step", "difference")}

    assert Decimal(told["exact"]) == sum((Decimal(part["amount"]) for part in explanation["parts"]), Decimal(0))
    assert Decimal(told["amount"]) == Decimal(told["exact"]) + rounding["difference"]
    assert 2 * abs(rounding["difference"]) <= rounding["step"]
    assert Decimal(told["amount"]) == replay(explanation)


@pytest.mark.parametrize("name", ["parts", "rounding"])
def test_an_explanation_may_leave_out_what_came_of_it_but_not_tell_something_else(name: str) -> None:
    explanation = answer(asked(per_unit("0.125"), quantity=1))["explanation"]
    without = {key: value for key, value in explanation.items() if key != name}
    other = {**explanation, name: answer(asked(per_unit("0.375"), quantity=1, currency="JPY"))["explanation"][name]}

    assert Decimal("0.13") == replay(without)
    assert (422, name) == refused(to_json(other))[:2]


def changed(change: Callable[[list[Json]], object]) -> Json:
    """A request of tiers, after `change` has had its way with the tiers."""
    price = copy.deepcopy(GRADUATED)
    change(price["tiers"])
    return asked(price)


@pytest.mark.parametrize(
    ("request_body", "status", "field"),
    [
        ({}, 400, "price"),
        ([], 400, None),
        (asked({}), 400, "price.model"),
        (asked({"model": None}), 422, "price.model"),
        (asked({"model": "GRADUATED"}), 400, "price.tiers"),
        (asked({**GRADUATED, "unit": {"id": "x"}}), 400, "price.unit"),
        (asked({**GRADUATED, "tears": []}), 400, "price.tears"),
        (asked({"model": "GRADUATED", "tiers": []}), 422, "price.tiers"),
        (changed(lambda tiers: tiers[1].pop("up_to")), 400, "price.tiers[1].up_to"),
        (changed(lambda tiers: tiers[1].update(up_to="many")), 400, "price.tiers[1].up_to"),
        (changed(lambda tiers: tiers[1].update(up_to="Infinity")), 400, "price.tiers[1].up_to"),
        (changed(lambda tiers: tiers[1].update(up_to=5)), 422, "price.tiers[1].up_to"),
        (changed(lambda tiers: tiers.insert(0, tiers[1])), 422, "price.tiers[0].up_to"),
        (changed(lambda tiers: tiers.insert(1, tiers[0])), 422, "price.tiers[1].up_to"),
        (changed(lambda tiers: tiers[0].update(up_to=0)), 422, "price.tiers[0].up_to"),
        (changed(lambda tiers: tiers[0].update(up_to=-5)), 422, "price.tiers[0].up_to"),
        (changed(lambda tiers: tiers[0].update(flatt=1)), 400, "price.tiers[0].flatt"),
        (changed(lambda tiers: tiers[0].update(flat=-1)), 422, "price.tiers[0].flat"),
        (changed(lambda tiers: tiers.append(tiers[0])), 422, "price.tiers[2].up_to"),
        (asked(per_unit("9" * 60)), 400, "price.unit_price"),
        (asked(per_unit(10**60)), 400, "price.unit_price"),
        (asked(per_unit("0." + "1" * 13)), 400, "price.unit_price"),
        (asked(per_unit("NaN")), 400, "price.unit_price"),
        (asked(per_unit("1_000")), 400, "price.unit_price"),
        (asked(per_unit(True)), 400, "price.unit_price"),
        (asked(per_unit(None)), 400, "price.unit_price"),
        (asked(per_unit(-1)), 422, "price.unit_price"),
        (asked(quantity="NaN"), 400, "quantity"),
        (asked(quantity=None), 400, "quantity"),
        (asked(quantity=1, groups=WEST_AND_EAST), 400, "groups"),
        (asked(quantity=1, events=[]), 400, "events"),
        (asked(quantity=1, quantities=1), 400, "quantities"),
        (asked(currency="XYZ"), 422, "currency"),
        (asked(currency={"name": "usd", "decimals": 3}), 422, "currency.name"),
        (asked(currency={"name": "credits", "decimals": 13}), 400, "currency.decimals"),
        (asked(currency={"name": "", "decimals": 1}), 400, "currency.name"),
        (asked(groups=[*WEST_AND_EAST, WEST_AND_EAST[0]]), 400, "groups[2].values"),
        (asked(groups=[{"values": values, "quantity": 1} for values in ({}, {"a": None})]), 400, "groups[1].values"),
        (asked(groups=[{"values": {"a": 1}, "quantity": 1}]), 400, "groups[0].values[...]"),
        (asked(groups=[{"values": {}}]), 400, "groups[0].quantity"),
        (asked(events=[an_event(), an_event()]), 400, "events[1].id"),
        (asked(events=[an_event("a"), an_event("b", "yesterday")]), 400, "events[1].timestamp"),
        (asked(events=[an_event("a"), an_event("b", "2026-07-01T12:00:00")]), 400, "events[1].timestamp"),
        (asked(events=[an_event("a"), an_event("b", "1999-07-01T12:00:00Z")]), 400, "events[1].timestamp"),
        (asked(events=[an_event(rate="1e40")]), 400, "events[0].rate"),
        ({"price": GRADUATED, "currency": "USD", "used": {}}, 400, "used.quantity"),
        ({"price": GRADUATED, "used": {"quantity": 1}}, 400, "currency"),
        ({"price": GRADUATED, "currency": "USD", "used": {"quantity": 1}, "quantity": 1}, 400, "quantity"),
    ],
)
def test_what_cannot_be_priced_is_refused_by_field(request_body: object, status: int, field: str | None) -> None:
    assert (status, field) == refused(to_json(request_body))[:2]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"price": {"model": "PER_UNIT", "unit_price": 1e99999999999999999999}, "quantity": 1}',
        b'{"price": {"model": "PER_UNIT", "unit_price": ' + b"9" * 5_000 + b'}, "quantity": 1}',
        *(b'{"price": {"tiers": ' + b"[" * depth + b"]" * depth + b'}, "quantity": 1}' for depth in (500, 900, 990)),
    ],
)
def test_what_is_no_json_or_beyond_every_bound_is_a_bad_request(body: bytes) -> None:
    assert refused(body)[0] == 400


def test_an_unknown_model_is_refused_with_the_names_of_those_there_are() -> None:
    status, field, detail = refused(to_json(asked({"model": "BARTER"})))

    assert (status, field) == (422, "price.model")
    assert [name for name in catalogue.MODELS if name not in detail] == []
