"""Usage queries against the reference model: any groups, filters and windows; the greatest and the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import reference
from builders import TENANT, Body, a_metric_body, a_sum_body, an_event, decimal_sum
from penstock.kernel.usage import UsageQuery, UsageRow
from penstock.kernel.window import Span
from unit.aggregator.test_usage import DAY, World

KEYS = ["model", "region"]
GROUPS = [KEYS]
BODIES: dict[str, Body] = {
    "count": a_metric_body("count", group_keys=GROUPS),
    "sum": a_sum_body("units", group_keys=GROUPS),
    "max": a_metric_body("max", "MAX", aggregation_key="units", group_keys=GROUPS),
    "min": a_metric_body("min", "MIN", aggregation_key="units", group_keys=GROUPS),
    "latest": a_metric_body("latest", "LATEST", aggregation_key="units", group_keys=GROUPS),
    "unique": a_metric_body("unique", "UNIQUE", aggregation_key="units", group_keys=GROUPS),
}
OWNERS = {"acme": "c1", "acme-alias": "c1", "other": "c2"}
HOURS = tuple(Span(DAY + timedelta(hours=h), DAY + timedelta(hours=h + 1)) for h in range(3))
RAGGED = (Span(DAY, DAY + timedelta(minutes=50)), Span(DAY + timedelta(minutes=50), DAY + timedelta(hours=3)))
WHOLE = (Span(DAY, DAY + timedelta(hours=3)),)
Values = dict[str, tuple[str | None, ...]]

texts = st.sampled_from(["a", "b", "c", None])
rules = st.dictionaries(st.sampled_from(KEYS), st.lists(texts, min_size=1, max_size=2).map(tuple), max_size=2)
group_keys = st.sampled_from([(), ("model",), ("region",), ("model", "region"), ("region", "model")])


@st.composite
def events(draw: st.DrawFn) -> list[Body]:
    minutes = draw(st.lists(st.integers(0, 179), min_size=1, max_size=20))
    return [
        an_event(
            f"event-{n}",
            customer_id=draw(st.sampled_from(sorted(OWNERS))),
            at=DAY + timedelta(minutes=minute),
            properties={"units": draw(st.integers(-3, 5)), "model": draw(texts), "region": draw(texts)},
        )
        for n, minute in enumerate(minutes)
    ]


def a_world(sent: Sequence[Body], kind: str) -> tuple[World, Callable[..., tuple[UsageRow, ...]]]:
    """The events folded, and a way to ask for usage of the one metric."""
    world = World()
    metric = world.define(BODIES[kind])
    world.send(sent)
    world.fold()

    def ask(spans: tuple[Span, ...], **fields: Any) -> tuple[UsageRow, ...]:
        [answer] = world.service.usage(UsageQuery(TENANT, metric, tuple(OWNERS), spans, **fields))
        return answer.rows

    return world, ask


def groups_of(event: Body, by: Sequence[str], by_owner: bool = False) -> tuple[Any, ...]:
    values = tuple(event["properties"][name] for name in by)
    return values, OWNERS[event["customer_id"]] if by_owner else None


def figure(kind: str, held: Sequence[Body]) -> Decimal | None:
    return reference.aggregate(BODIES[kind], held)[0]


def naive(
    kind: str, sent: Sequence[Body], spans: Sequence[Span], group: Callable[[Body], object]
) -> dict[Any, Decimal | None]:
    boxes: dict[Any, list[Body]] = {}
    for event in sent:
        for span in spans:
            if span.start <= reference.instant(event["timestamp"]) < span.end:
                boxes.setdefault((span, group(event)), []).append(event)
    return {place: figure(kind, held) for place, held in boxes.items()}


def passes(event: Body, wanted: Values, refused: Values) -> bool:
    properties = event["properties"]
    is_wanted = all(properties[name] in values for name, values in wanted.items())
    return is_wanted and all(properties[name] not in values for name, values in refused.items())


@given(
    events(), st.sampled_from(sorted(BODIES)), group_keys, rules, rules, st.sampled_from([HOURS, RAGGED]), st.booleans()
)
def test_any_groups_filters_and_owners_are_what_the_reference_counts(
    sent: list[Body], kind: str, by: tuple[str, ...], wanted: Values, refused: Values, spans: Any, by_owner: bool
) -> None:
    _, ask = a_world(sent, kind)
    owners = tuple(OWNERS.values()) if by_owner else ()

    rows = ask(spans, group_by=by, filters=tuple(wanted.items()), excluded=tuple(refused.items()), owners=owners)

    passed = [event for event in sent if passes(event, wanted, refused)]
    expected = naive(kind, passed, spans, lambda event: groups_of(event, by, by_owner))
    assert {(row.span, (row.groups, row.customer_key)): row.value for row in rows} == expected


@given(events(), st.sampled_from(["count", "sum"]), st.sampled_from([HOURS, RAGGED]))
def test_groups_windows_and_the_greatest_with_the_rest_add_up_to_the_total(
    sent: list[Body], kind: str, spans: tuple[Span, ...]
) -> None:
    _, ask = a_world(sent, kind)
    total = decimal_sum(row.value for row in ask(WHOLE))

    def added(spans: tuple[Span, ...], **fields: Any) -> Decimal:
        return decimal_sum(row.value for row in ask(spans, **fields))

    assert added(spans) == total
    assert added(WHOLE, group_by=("model",)) == added(spans, group_by=("region", "model")) == total
    assert added(WHOLE, owners=tuple(OWNERS.values())) == added(spans, by_customer_key=True) == total
    for top in (1, 2, 20):
        assert added(spans, group_by=("model", "region"), top=top, rest=True) == total


@given(events(), st.sampled_from(sorted(BODIES)), st.sampled_from([HOURS, RAGGED]), st.integers(1, 4), st.booleans())
def test_the_greatest_are_those_of_the_whole_span_ties_by_text_and_the_rest_is_one_row_per_span(
    sent: list[Body], kind: str, spans: tuple[Span, ...], top: int, by_owner: bool
) -> None:
    _, ask = a_world(sent, kind)
    owners = tuple(OWNERS.values()) if by_owner else ()

    rows = ask(spans, group_by=("model",), owners=owners, top=top, rest=True)

    def group(event: Body) -> Any:
        return groups_of(event, ("model",), by_owner)

    def rank(item: Any) -> Any:
        (_, ((model,), owner)), value = item
        return -value, (model is not None, model or ""), owner or ""

    ranked = [place[1] for place, _ in sorted(naive(kind, sent, WHOLE, group).items(), key=rank)][:top]
    expected = naive(kind, sent, spans, lambda event: group(event) if group(event) in ranked else "rest")
    found = {(row.span, "rest" if row.is_rest else (row.groups, row.customer_key)): row.value for row in rows}
    assert found == expected
    order = [(row.span, len(ranked) if row.is_rest else ranked.index((row.groups, row.customer_key))) for row in rows]
    assert order == sorted(order)
    assert [row for row in rows if not row.is_rest] == list(ask(spans, group_by=("model",), owners=owners, top=top))
