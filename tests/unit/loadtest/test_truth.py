"""The truth by templates is what a naive count of the bodies says: every id once, its first body, by hour and group."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loadtest.drivers import arrow, grpc, http, ndjson
from loadtest.traffic import EVENT_TYPE, TOKENS, Encode, Part, Planned, Shape, Traffic
from loadtest.truth import Amount, Place, Truth, by_customer_and_hour

from penstock.wire.usage_pb2 import EventBatch

CUSTOMERS = ("a", "b", "c")
DIMENSIONS = {"model": 3, "region": 2}
NOON = 29_000_000  # in minutes since the epoch

shapes = st.builds(
    Shape,
    batch_events=st.integers(1, 40),
    late=st.sampled_from([0.0, 0.3]),
    out_of_order=st.sampled_from([0.0, 0.5]),
    skew=st.sampled_from([0.0, 1.0]),
    dimensions=st.just(DIMENSIONS),
    seed=st.integers(0, 5),
)
# Batch numbers with the minutes past noon at which they leave; each number leaves once.
sendings = st.dictionaries(st.integers(0, 5_000), st.integers(0, 200), min_size=1, max_size=12)


@settings(max_examples=25)  # each makes some 16,000 events
@given(shapes, sendings)
def test_the_truth_is_what_a_naive_count_says(shape: Shape, sent: dict[int, int]) -> None:
    traffic = Traffic(shape, CUSTOMERS, "run", http.array)
    truth = Truth([template.events for template in traffic.templates])
    first: dict[str, Any] = {}
    for part in (Part.NEW, Part.REPEAT, Part.FIRST, Part.DISPUTED):
        for number, minutes in sent.items():
            for event in json.loads(traffic.body(number, NOON + minutes, part)):
                first.setdefault(event["transaction_id"], event)
    for number, minutes in sent.items():
        truth.acknowledged(number, NOON + minutes)

    assert truth.usage() == naive(list(first.values()), list(DIMENSIONS))
    assert by_customer_and_hour(truth.usage()) == naive(list(first.values()), [])
    assert len(first) == shape.batch_events * len(sent)


def naive(events: Sequence[Any], names: Sequence[str]) -> dict[Place, Amount]:
    counts: Counter[Place] = Counter()
    tokens: Counter[Place] = Counter()
    for event in events:
        hour = int(datetime.fromisoformat(event["timestamp"]).timestamp()) // 3_600
        place = Place(event["customer_id"], hour, tuple(event["properties"][name] for name in names))
        counts[place] += 1
        tokens[place] += event["properties"][TOKENS]
    return {place: Amount(counts[place], tokens[place]) for place in counts}


def shape_of(batch_events: int, **changes: Any) -> Shape:
    plain = {"late": 0.1, "out_of_order": 0.2, "skew": 1.0, "dimensions": DIMENSIONS, "seed": 7}
    return Shape(batch_events=batch_events, **{**plain, **changes})


def test_the_same_seed_is_the_same_traffic_and_another_is_not() -> None:
    bodies = [Traffic(shape_of(50, seed=s), CUSTOMERS, "run", http.array).body(9, NOON, Part.NEW) for s in (1, 1, 2)]

    assert bodies[0] == bodies[1] != bodies[2]


def test_a_change_of_minute_changes_instants_and_nothing_else() -> None:
    traffic = Traffic(shape_of(20), CUSTOMERS, "run", http.array)
    early, late = (json.loads(traffic.body(3, NOON + minute, Part.NEW)) for minute in (0, 1))

    assert [event | {"timestamp": ""} for event in early] == [event | {"timestamp": ""} for event in late]
    assert early[0]["timestamp"] != late[0]["timestamp"]


def test_disputed_events_have_known_ids_and_other_bodies() -> None:
    traffic = Traffic(shape_of(20), CUSTOMERS, "run", http.array)
    new, disputed = (json.loads(traffic.body(3, NOON, part)) for part in (Part.NEW, Part.DISPUTED))

    assert [e["transaction_id"] for e in disputed] == [e["transaction_id"] for e in new[:5]]
    assert not any(e["properties"] == was["properties"] for e, was in zip(disputed, new, strict=False))


def test_skew_gives_the_first_customer_the_most() -> None:
    def share(skew: float) -> float:
        templates = Traffic(shape_of(100, skew=skew), CUSTOMERS, "run", http.array).templates
        customers = [event.customer for template in templates for event in template.events]
        return customers.count("a") / len(customers)

    assert share(0.0) < 0.4 < 0.5 < share(1.0)


def rows_of_json(body: bytes) -> list[tuple[Any, ...]]:
    return [_row(**event) for event in json.loads(body)]


def rows_of_lines(body: bytes) -> list[tuple[Any, ...]]:
    return [_row(**json.loads(line)) for line in body.splitlines()]


def rows_of_arrow(body: bytes) -> list[tuple[Any, ...]]:
    with pa.ipc.open_stream(body) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return [_row(**row | {"properties": json.loads(row["properties"])}) for row in table.to_pylist()]


def rows_of_columns(body: bytes) -> list[tuple[Any, ...]]:
    columns = EventBatch.FromString(body).columns
    texts = zip(columns.transaction_ids, columns.customer_ids, columns.event_types, strict=True)
    rest = zip(columns.times_us, map(json.loads, columns.properties_json), strict=True)
    return [(*text, *one) for text, one in zip(texts, rest, strict=True)]


def _row(transaction_id: str, customer_id: str, event_type: str, timestamp: Any, properties: Any) -> tuple[Any, ...]:
    instant = datetime.fromisoformat(timestamp) if isinstance(timestamp, str) else timestamp
    return transaction_id, customer_id, event_type, round(instant.timestamp() * 1_000) * 1_000, properties


@pytest.mark.parametrize(
    ("encode", "read"),
    [
        (http.array, rows_of_json),
        (ndjson.lines, rows_of_lines),
        (arrow.stream, rows_of_arrow),
        (grpc.columns, rows_of_columns),
    ],
)
def test_every_protocol_carries_the_same_events(encode: Encode, read: Any) -> None:
    traffic = Traffic(shape_of(30), CUSTOMERS, "run", encode)
    planned: Sequence[Planned] = traffic.templates[2].events

    assert read(traffic.body(2 + len(traffic.templates), NOON, Part.NEW)) == [
        (
            f"run-{2 + len(traffic.templates):010}-{place:05}",
            event.customer,
            EVENT_TYPE,
            event.time_us(NOON),
            json.loads(event.properties),
        )
        for place, event in enumerate(planned)
    ]
