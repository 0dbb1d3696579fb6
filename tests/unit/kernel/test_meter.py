"""Which events a metric takes, and which properties it reads of them."""

from __future__ import annotations

import pytest

from penstock.kernel.meter import Aggregation, EventTypeFilter, Metric, PropertyFilter


@pytest.mark.parametrize(
    ("filter", "taken", "left"),
    [
        (EventTypeFilter(), ["a", "b", ""], []),
        (EventTypeFilter(in_values=("a", "b")), ["a", "b"], ["c", "A"]),
        (EventTypeFilter(not_in_values=("a",)), ["b", "c"], ["a"]),
        (EventTypeFilter(in_values=("a", "b"), not_in_values=("b",)), ["a"], ["b", "c"]),
        (EventTypeFilter(in_values=()), [], ["a"]),
    ],
)
def test_an_event_type_is_taken_if_named_and_not_excluded(
    filter: EventTypeFilter, taken: list[str], left: list[str]
) -> None:
    assert [t for t in taken + left if filter.matches(t)] == taken


@pytest.mark.parametrize(
    ("filter", "taken", "left"),
    [
        (PropertyFilter("p"), ["x", None], []),
        (PropertyFilter("p", exists=True), ["x", ""], [None]),
        (PropertyFilter("p", exists=False), [None], ["x", ""]),
        (PropertyFilter("p", in_values=("x", "y")), ["x", "y"], ["z", None]),
        (PropertyFilter("p", not_in_values=("x",)), ["y", None], ["x"]),
        (PropertyFilter("p", exists=True, not_in_values=("x",)), ["y"], ["x", None]),
        (PropertyFilter("p", in_values=("x", "y"), not_in_values=("y",)), ["x"], ["y", None]),
    ],
)
def test_an_event_is_taken_by_the_text_of_a_property_and_absent_is_none(
    filter: PropertyFilter, taken: list[str | None], left: list[str | None]
) -> None:
    assert [v for v in taken + left if filter.matches(v)] == taken


def test_a_metric_names_each_property_it_reads_once_in_order() -> None:
    metric = Metric(
        id="m",
        tenant="acme",
        name="tokens",
        aggregation=Aggregation.SUM,
        aggregation_key="tokens",
        property_filters=(PropertyFilter("region", exists=True), PropertyFilter("model")),
        group_keys=("model", "region", "team"),
    )

    assert metric.property_names == ("tokens", "region", "model", "team")


def test_a_count_reads_no_property_of_its_own() -> None:
    assert Metric(id="m", tenant="acme", name="calls", aggregation=Aggregation.COUNT).property_names == ()
