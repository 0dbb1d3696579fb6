"""Time-weighted sums against the reference model: any spans, groups, filters and partitions; parts sum to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from builders import TENANT, Body, a_metric_body, an_event, decimal_sum
from level_reference import level_time
from penstock.kernel.quantity import exact
from penstock.kernel.usage import UsageQuery, UsageRow
from penstock.kernel.window import Span
from unit.aggregator.test_usage import DAY, World

BODY = a_metric_body("seats", "TIME_WEIGHTED_SUM", aggregation_key="change", group_keys=[["model"]])
KEYS = ("acme", "acme-alias")
US = timedelta(microseconds=1)
HOUR_US = 3_600_000_000

changes = st.one_of(
    st.integers(-5, 5),
    st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**25), max_value=10**25),
    st.sampled_from(["0.1", 10**26 - 1, "text", None]),
)


@st.composite
def events(draw: st.DrawFn) -> list[Body]:
    """Changes within three hours; some at the very edges of windows."""
    at_us = st.one_of(st.integers(0, 3 * HOUR_US), st.integers(0, 12).map(lambda n: n * HOUR_US // 4))
    return [
        an_event(
            f"event-{n}",
            customer_id=draw(st.sampled_from(["acme", "acme-alias", "other"])),
            at=DAY + draw(at_us) * US,
            properties={"change": draw(changes), "model": draw(st.sampled_from(["a", "b", None]))},
        )
        for n in range(draw(st.integers(1, 12)))
    ]


@st.composite
def spans(draw: st.DrawFn) -> tuple[Span, ...]:
    """Spans in order, some with gaps, from before the first change to after the last."""
    edge = st.one_of(st.integers(-1, 20).map(lambda n: n * HOUR_US // 4), st.integers(-HOUR_US, 4 * HOUR_US))
    edges = sorted(draw(st.sets(edge, min_size=2, max_size=7)))
    cut = [Span(DAY + a * US, DAY + b * US) for a, b in pairwise(edges)]
    kept = draw(st.sets(st.integers(0, len(cut) - 1), min_size=1))
    return tuple(span for n, span in enumerate(cut) if n in kept)


def ask(sent: Sequence[Body], *queries: tuple[Span, ...], **fields: object) -> list[tuple[UsageRow, ...]]:
    world = World()
    metric = world.define(BODY)
    for half in (sent[::2], sent[1::2]):
        world.send(half)
        world.fold()
    asked = [UsageQuery(TENANT, metric, KEYS, each, **fields) for each in queries]  # type: ignore[arg-type]
    return [usage.rows for usage in world.service.usage(*asked)]


@given(events(), spans(), st.booleans())
def test_any_span_holds_the_area_under_the_level(sent: list[Body], asked: tuple[Span, ...], is_ours: bool) -> None:
    [rows] = ask(sent, asked, group_by=("model",), by_customer_key=is_ours)

    expected = {}
    for span in asked:
        for model in ("a", "b", None):
            for keys in [[key] for key in KEYS] if is_ours else [list(KEYS)]:
                mine = [e for e in sent if e["customer_id"] in keys and e["properties"]["model"] == model]
                figure = level_time(BODY, mine, span.start, span.end)
                if any(figure):
                    expected[span, model, keys[0] if is_ours else None] = figure
    assert {(row.span, row.groups[0], row.customer_key): (row.value, row.events) for row in rows} == expected


@given(events(), spans(), st.sampled_from(["a", "b", None]))
def test_filters_and_the_rest_beside_the_greatest_hold_the_area_under_the_level(
    sent: list[Body], asked: tuple[Span, ...], model: str | None
) -> None:
    touching = tuple(Span(a.start, b.start) for a, b in pairwise(asked)) or asked[:1]
    [filtered] = ask(sent, touching, filters=(("model", (model,)),))
    [ranked] = ask(sent, touching, group_by=("model",), top=1, rest=True)

    mine = [event for event in sent if event["customer_id"] in KEYS]
    chosen = [event for event in mine if event["properties"]["model"] == model]
    figures = {span: level_time(BODY, chosen, span.start, span.end) for span in touching}
    assert {row.span: (row.value, row.events) for row in filtered} == {s: f for s, f in figures.items() if any(f)}
    totals = {span: level_time(BODY, mine, span.start, span.end)[0] for span in touching}
    assert {span: exact(decimal_sum)(row.value for row in ranked if row.span == span) for span in touching} == totals


@given(events(), spans())
def test_the_parts_of_a_span_sum_to_it(sent: list[Body], asked: tuple[Span, ...]) -> None:
    whole = Span(asked[0].start, asked[-1].end)
    parts = tuple(whole.cut({edge for span in asked for edge in (span.start, span.end)}))

    of_whole, of_parts = ask(sent, (whole,), parts)

    total = exact(decimal_sum)(row.value for row in of_parts)
    assert total == (of_whole[0].value if of_whole else Decimal(0))
