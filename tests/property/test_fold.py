"""The fold against the reference model: in any order and split, repeated or replayed, the figures are the same."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import reference
from builders import Body, a_metric, a_metric_body, a_record, a_sum_body, an_event, to_json, yesterday
from penstock.aggregator.fold import Fold, Study
from penstock.kernel.cell import CONSERVATION, Cell, CellKey, merge
from penstock.kernel.idset import IdSet
from penstock.kernel.meter import Aggregation
from penstock.kernel.quantity import exact
from penstock.kernel.record import LogRecord
from penstock.kernel.window import from_us, to_us

START = yesterday()
GROUPS = [["model", "region"]]
BODIES: dict[str, Body] = {
    "count": a_metric_body("events", group_keys=GROUPS),
    "sum": a_sum_body("units", group_keys=GROUPS),
    "max": a_metric_body("max", "MAX", aggregation_key="units", group_keys=GROUPS),
    "min": a_metric_body("min", "MIN", aggregation_key="units"),
    "latest": a_metric_body("latest", "LATEST", aggregation_key="units", group_keys=[["region"]]),
    "unique": a_metric_body("unique", "UNIQUE", aggregation_key="units", group_keys=[["model"]]),
    "level": a_metric_body("level", "TIME_WEIGHTED_SUM", aggregation_key="units", group_keys=[["region"]]),
    "filtered": a_sum_body("units", property_filters=[{"name": "model", "in_values": ["a", "1"]}]),
    "unnamed": a_metric_body("no model", property_filters=[{"name": "model", "exists": False}]),
}
METRICS = {metric_id: a_metric(metric_id, body) for metric_id, body in BODIES.items()}

quantities = st.one_of(
    st.integers(-(10**6), 10**26 - 1),
    st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-1_000, max_value=10**25),
    st.sampled_from([0, Decimal("0.1"), Decimal("0.2"), "0.1", "1500", "1e3", "-0.0", Decimal("1.0"), 10**26 - 1]),
)
# What no metric sums, and what makes the whole event count nowhere.
oddities = st.sampled_from([True, False, None, "text", "", [1], {"a": 1}, 10**26, Decimal("1e-13"), "1e400", "9" * 60])
texts = st.sampled_from(["a", "b", "1", 1, Decimal("1.0"), True, None, ""])
properties = st.fixed_dictionaries(
    {}, optional={"units": st.one_of(quantities, quantities, oddities), "model": texts, "region": texts}
)


@st.composite
def events(draw: st.DrawFn) -> list[Body]:
    """Events with distinct ids, some minutes apart: few customers, groups and windows, so that they meet in cells."""
    minutes = draw(st.lists(st.integers(0, 40), min_size=1, max_size=25))
    return [
        an_event(
            f"event-{n}",
            customer_id=draw(st.sampled_from(["acme", "globex"])),
            event_type=draw(st.sampled_from(["llm_call", "llm_call", "upload"])),
            at=START + timedelta(minutes=minute),
            properties=draw(properties),
        )
        for n, minute in enumerate(minutes)
    ]


def split(items: Sequence[Any], cuts: Iterable[int]) -> list[list[Any]]:
    """`items` in order, cut at the given places."""
    edges = [0, *sorted({cut % (len(items) + 1) for cut in cuts}), len(items)]
    return [list(items[a:b]) for a, b in pairwise(edges)]


def records_of(sent: Sequence[Body], cuts: Iterable[int]) -> list[LogRecord]:
    return [a_record(offset, part) for offset, part in enumerate(split(sent, cuts))]


def a_fold() -> Fold:
    return Fold(0, metrics=METRICS)


def fold_all(fold: Fold, records: Sequence[LogRecord], cuts: Iterable[int] = ()) -> list[Study]:
    """Fold records in groups, as a shell would whose store is empty."""
    studies = []
    for group in split(records, cuts):
        study = fold.study(group)
        assert not fold.missing(study)
        fold.apply(study, {})
        studies.append(study)
    return studies


@exact
def usage_of(cells: dict[CellKey, Cell], metric_id: str, customer: str) -> dict[Any, Decimal]:
    """Cells of one metric and customer in the shape of the reference's table: by quarter of an hour and groups."""
    metric = METRICS[metric_id]
    merged: dict[Any, Cell] = {}
    for key, cell in cells.items():
        if key.metric == metric_id and key.customer == customer and cell.events:
            place = (from_us(key.window_us), key.groups)
            one = Cell(events=1) if metric.aggregation is Aggregation.UNIQUE else cell
            merge(metric.aggregation, merged.setdefault(place, Cell()), one)
    counts = metric.aggregation in (Aggregation.COUNT, Aggregation.UNIQUE)
    return {place: Decimal(cell.events) if counts else cell.value for place, cell in merged.items()}


def assert_like_reference(fold: Fold, sent: Sequence[Body]) -> None:
    for customer in ("acme", "globex"):
        world = reference.World(sent=sent, keys={customer}, metrics=BODIES)
        for metric_id, body in BODIES.items():
            names = reference.group_names(body)
            expected = world.usage(metric_id, START, START + timedelta(days=1), "QUARTER", names)

            assert usage_of(fold.cells, metric_id, customer) == expected, metric_id


def outcomes_of(cells: dict[CellKey, Cell]) -> Counter[str]:
    found: Counter[str] = Counter()
    for key, cell in cells.items():
        if key.metric == CONSERVATION:
            found[str(key.groups[0])] += cell.events
    return found


def expected_outcomes(sent: Sequence[Body]) -> Counter[str]:
    """What becomes of every event, by the words of DESIGN.md section 3."""
    bodies = BODIES.values()
    first: dict[str, Body] = {}
    found: Counter[str] = Counter()
    for event in sent:
        known = first.setdefault(event["transaction_id"], event)
        if known is not event:
            found["DUPLICATE" if to_json(known) == to_json(event) else "CONFLICT"] += 1
        elif reference.is_quarantined(bodies, event):
            found["QUARANTINED"] += 1
        else:
            found["COUNTED" if any(reference.aggregate(body, [event])[1] for body in bodies) else "UNMATCHED"] += 1
    return found


cuts = st.lists(st.integers(0, 60), max_size=6)


@given(events(), cuts, cuts)
def test_cells_hold_what_the_reference_counts(sent: list[Body], records: list[int], groups: list[int]) -> None:
    fold = a_fold()

    fold_all(fold, records_of(sent, records), groups)

    assert_like_reference(fold, sent)


@given(events(), st.data())
def test_retries_in_any_order_and_any_split_change_no_figure(sent: list[Body], data: st.DataObject) -> None:
    repeats = data.draw(st.lists(st.sampled_from(sent), max_size=20))
    shuffled = data.draw(st.permutations([*sent, *(copy.deepcopy(repeat) for repeat in repeats)]))
    fold = a_fold()

    fold_all(fold, records_of(shuffled, data.draw(cuts)), data.draw(cuts))

    assert_like_reference(fold, sent)
    assert outcomes_of(fold.cells) == expected_outcomes(shuffled)


@given(events(), st.data())
def test_of_two_bodies_with_one_id_the_first_in_the_log_counts(sent: list[Body], data: st.DataObject) -> None:
    others = [dict(event, customer_id="globex", properties={"units": 7}) for event in sent]
    log = data.draw(st.permutations([*sent, *others]))
    fold = a_fold()

    fold_all(fold, records_of(log, data.draw(cuts)), data.draw(cuts))

    assert_like_reference(fold, log)
    assert outcomes_of(fold.cells) == expected_outcomes(log)


@given(events(), st.data())
def test_a_replay_over_cells_that_are_ahead_changes_no_figure(sent: list[Body], data: st.DataObject) -> None:
    """A flush was cut short: some cells were stored as of a later record than the marker; the next owner replays."""
    records = records_of(data.draw(st.permutations([*sent, *sent])), data.draw(cuts))
    marker = data.draw(st.integers(0, len(records)))
    ahead = data.draw(st.integers(marker, len(records)))
    first = a_fold()
    studies = fold_all(first, records[:marker])
    stored = copy.deepcopy(first.take_dirty())
    fold_all(first, records[marker:ahead])
    flushed = first.take_dirty()
    kept = data.draw(st.sets(st.sampled_from(sorted(flushed, key=repr)))) if flushed else set()
    stored |= {key: copy.deepcopy(flushed[key]) for key in kept}

    second = Fold(
        0,
        offset=marker - 1,
        clock_us=to_us(START) if marker == 0 else records[marker - 1].clock_us,
        ids=restored_ids(studies),
        metrics=METRICS,
        partial={key.window_us for key in stored},
    )
    for group in split(records[marker:], data.draw(cuts)):
        study = second.study(group)
        loaded = {key: copy.deepcopy(stored[key]) for key in second.missing(study) if key in stored}
        second.apply(study, loaded)
        stored |= copy.deepcopy(second.take_dirty())
    second.cells = stored

    assert_like_reference(second, sent)
    assert outcomes_of(stored) == expected_outcomes([*sent, *map(copy.copy, sent)])


def restored_ids(studies: Sequence[Study]) -> IdSet:
    """The id set as of the last of these studies, from what they stored."""
    ids = IdSet()
    for stored in (each for study in studies for each in study.ids):
        ids.restore(stored.day, stored.identities, stored.bodies)
    return ids
