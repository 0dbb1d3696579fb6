"""The fold: exact dedupe, age, quarantine and exact sums over records; what each event became always adds up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from builders import TENANT, a_metric, a_metric_body, a_record, a_sum_body, an_event, yesterday
from penstock.aggregator.fold import Fold
from penstock.kernel.cell import CONSERVATION, Cell, CellKey
from penstock.kernel.chunk import Chunk
from penstock.kernel.identity import hash_bodies
from penstock.kernel.meter import Metric
from penstock.kernel.record import US_PER_DAY, Kind, LogRecord
from penstock.kernel.window import to_us

TODAY = yesterday() + timedelta(days=1)
UNITS = a_metric("units", a_sum_body("units"))
CALLS = a_metric("calls", a_metric_body("calls"))


def folded(records: Sequence[LogRecord], *metrics: Metric, at_once: int = 100) -> Fold:
    fold = Fold(0, metrics={m.id: m for m in metrics})
    left = iter(records)
    while some := list(itertools.islice(left, at_once)):
        fold.apply(fold.study(some), {})
    return fold


def total(fold: Fold, metric: str) -> Decimal:
    return sum((c.value for k, c in fold.cells.items() if k.metric == metric), Decimal(0))


def outcomes(fold: Fold) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, cell in fold.cells.items():
        if key.metric == CONSERVATION:
            found[str(key.groups[0])] = found.get(str(key.groups[0]), 0) + cell.events
    return found


def test_a_copy_is_counted_once_in_a_chunk_in_a_later_chunk_and_in_a_later_study() -> None:
    event = an_event("a", properties={"units": 2})
    records = [a_record(0, [event, event]), a_record(1, [event]), a_record(2, [event])]

    fold = folded(records, UNITS, at_once=2)

    assert total(fold, "units") == 2
    assert outcomes(fold) == {"COUNTED": 1, "DUPLICATE": 3}


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_metric_over_several_event_types_counts_each_in_one_record(at_once: int) -> None:
    everything = a_metric("everything", {"name": "everything", "aggregation_type": "COUNT"})
    events = [an_event("a"), an_event("b", event_type="upload"), an_event("c", event_type="download")]

    fold = folded([a_record(0, events), a_record(1, [an_event("d", event_type="upload")])], everything, at_once=at_once)

    assert [(c.events, c.version) for k, c in fold.cells.items() if k.metric == "everything"] == [(4, 1)]


def test_the_first_body_wins_and_another_is_a_conflict() -> None:
    first, other = (an_event("a", properties={"units": n}) for n in (1, 5))

    fold = folded([a_record(0, [first]), a_record(1, [other])], UNITS)

    assert total(fold, "units") == 1
    assert outcomes(fold) == {"COUNTED": 1, "CONFLICT": 1}


def test_an_event_that_no_metric_takes_is_unmatched_and_one_that_two_take_counts_once() -> None:
    records = [a_record(0, [an_event("a", properties={"units": 1}), an_event("b", event_type="other")])]

    assert outcomes(folded(records, UNITS, CALLS)) == {"COUNTED": 1, "UNMATCHED": 1}


@pytest.mark.parametrize("value", [True, "many", None, [1]])
def test_what_is_no_number_is_counted_but_not_summed(value: Any) -> None:
    fold = folded([a_record(0, [an_event("a", properties={"units": value})])], UNITS, CALLS)

    assert total(fold, "units") == 0
    assert outcomes(fold) == {"COUNTED": 1}


@pytest.mark.parametrize("value", [10**26, Decimal("1e-13"), "1e400", 10**59])
def test_a_metered_number_out_of_range_quarantines_its_event_alone(value: Any) -> None:
    good, bad = an_event("a", properties={"units": 1}), an_event("b", properties={"units": value})

    fold = folded([a_record(0, [good, bad])], UNITS, CALLS)

    assert total(fold, "units") == 1
    assert outcomes(fold) == {"COUNTED": 1, "QUARANTINED": 1}


def test_an_event_older_than_the_limit_and_its_slack_is_late_by_the_log_clock() -> None:
    record = a_record(0, [])
    oldest = record.clock_us - 34 * US_PER_DAY - US_PER_DAY // 2
    ages = {"kept": oldest, "late": oldest - 1}
    events = [an_event(name, at=TODAY + timedelta(microseconds=us - to_us(TODAY))) for name, us in ages.items()]

    fold = folded([a_record(0, events)], CALLS)

    assert outcomes(fold) == {"COUNTED": 1, "LATE": 1}


def test_an_id_is_known_for_the_whole_window_and_its_copy_is_out_of_range_after_it() -> None:
    event = an_event("a", at=TODAY + timedelta(hours=23), properties={"units": 1})

    def after(days: int) -> dict[str, int]:
        at = to_us(TODAY + timedelta(days=days, hours=1))
        copy = a_record(1, [event], stamped_at_us=at, appended_at_us=at)
        return outcomes(folded([a_record(0, [event]), copy], UNITS))

    assert [after(d) for d in (1, 34, 35)] == [{"COUNTED": 1, "DUPLICATE": 1}] * 3
    assert [after(d) for d in (36, 37, 38, 90)] == [{"COUNTED": 1, "LATE": 1}] * 4


def test_a_record_is_folded_only_into_cells_that_have_not_seen_it() -> None:
    events = [an_event(f"e{n}", properties={"units": 1}) for n in range(3)]
    records = [a_record(n, [event]) for n, event in enumerate(events)]
    whole = folded(records, UNITS)
    [key] = [k for k in whole.cells if k.metric == "units"]
    fold = Fold(0, metrics={"units": UNITS}, partial={key.window_us})
    study = fold.study(records)

    fold.apply(study, {key: Cell(2, Decimal(2), version=1)})

    assert fold.cells[key] == whole.cells[key] == Cell(3, Decimal(3), version=2)


def test_a_cell_ahead_of_every_record_is_left_as_it_is() -> None:
    record = a_record(0, [an_event("a", properties={"units": 1})])
    [key] = [k for k in folded([record], UNITS).cells if k.metric == "units"]
    fold = Fold(0, metrics={"units": UNITS}, partial={key.window_us})

    fold.apply(fold.study([record]), {key: Cell(7, Decimal(7), version=9)})

    assert fold.cells[key] == Cell(7, Decimal(7), version=9)
    assert key not in fold.take_dirty()


def test_only_cells_of_windows_that_the_store_may_hold_are_asked_for() -> None:
    record = a_record(0, [an_event("a", properties={"units": 1})])
    known = Fold(0, metrics={"units": UNITS})
    window = to_us(yesterday() + timedelta(hours=12))
    unknown = Fold(0, metrics={"units": UNITS}, partial={window})

    assert known.missing(known.study([record])) == []
    assert unknown.missing(unknown.study([record])) == [CellKey(TENANT, "units", "acme", window, (), None, 0)]


def test_forgotten_cells_are_asked_for_again() -> None:
    record = a_record(0, [an_event("a", properties={"units": 1})])
    fold = folded([record], UNITS)
    cells = fold.take_dirty()
    fold.forget(cells_max=0)
    again = fold.study([a_record(1, [an_event("b", properties={"units": 1})])])

    missing = fold.missing(again)
    fold.apply(again, {key: cells[key] for key in missing})

    assert total(fold, "units") == 2


def test_a_gap_in_the_offsets_stops_the_fold() -> None:
    with pytest.raises(AssertionError, match="not contiguous"):
        folded([a_record(0, []), a_record(2, [])], UNITS)


def test_a_sum_past_38_digits_does_not_wrap() -> None:
    largest = Decimal("9" * 26 + "." + "9" * 12)
    events = [an_event(f"e{n}", properties={"units": largest}) for n in range(1000)]

    assert total(folded([a_record(0, events)], UNITS), "units") == largest * 1000


def test_a_tenth_and_a_fifth_are_three_tenths() -> None:
    events = [an_event("a", properties={"units": Decimal("0.1")}), an_event("b", properties={"units": Decimal("0.2")})]

    assert total(folded([a_record(0, events)], UNITS), "units") == Decimal("0.3")


def test_int64_sums_that_would_overflow_are_exact() -> None:
    events = [an_event(f"e{n}", properties={"units": 2**62}) for n in range(8)]

    assert total(folded([a_record(0, events)], UNITS), "units") == 8 * 2**62


def test_int64s_at_the_very_bottom_do_not_wrap() -> None:
    events = [an_event(f"e{n}", properties={"units": -(2**63) + n}) for n in range(2)]

    assert total(folded([a_record(0, events)], UNITS), "units") == -(2**64) + 1


@pytest.mark.parametrize("unique_first", [True, False])
def test_metrics_that_look_alike_take_their_own_events(unique_first: bool) -> None:
    pair = [
        a_metric("sum", a_sum_body("units", group_keys=[["units"]])),
        a_metric("unique", a_metric_body("unique", "UNIQUE", aggregation_key="units")),
    ]
    events = [an_event(f"e{n}", properties={"units": value}) for n, value in enumerate([1, "abc", 1, None])]

    fold = folded([a_record(0, events)], *(pair if unique_first else reversed(pair)))

    taken = {m.id: [(k.groups, k.member, c.events) for k, c in fold.cells.items() if k.metric == m.id] for m in pair}
    assert taken == {"sum": [(("1",), None, 2)], "unique": [((), "1", 2), ((), "abc", 1)]}


@pytest.mark.slow
def test_ten_million_times_a_tenth_is_exactly_a_million() -> None:
    per_chunk, chunks = 10_000, 1_000
    noon_us = to_us(yesterday() + timedelta(hours=12))
    names = (["acme"] * per_chunk, ["llm_call"] * per_chunk)
    times = np.full(per_chunk, noon_us, np.int64)
    properties = [b'{"units":0.1}'] * per_chunk
    bodies = hash_bodies(*names, times, properties)
    ids = [f"e{i}" for i in range(per_chunk)]
    fold = Fold(0, metrics={"units": UNITS})
    for n in range(chunks):
        # Identities drawn, not hashed from ten million texts: the fold takes them as the gateway made them.
        identities = np.random.default_rng(n).integers(0, 2**64, (per_chunk, 2), np.uint64)
        chunk = Chunk.build(
            identities=identities,
            body_hashes=bodies,
            tenants=[TENANT] * per_chunk,
            customers=names[0],
            event_types=names[1],
            times_us=times,
            transaction_ids=ids,
            properties=properties,
        )
        at = to_us(TODAY)
        fold.apply(fold.study([LogRecord(0, n, Kind.CHUNK, at, at, chunk.encode())]), {})

    assert total(fold, "units") == 1_000_000
    assert outcomes(fold) == {"COUNTED": 10_000_000}
