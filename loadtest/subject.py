"""What a run makes on the server before it sends, and how it asks for usage afterwards, in two ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from loadtest.api import Api
from loadtest.traffic import EVENT_TYPE, TOKENS
from loadtest.truth import Amount, Place

from penstock.kernel.window import EPOCH, from_us, to_us

US_PER_HOUR = 3_600_000_000
USAGE_ROWS_MAX = 8_000  # in one answer: the server computes all rows for each page


class Subject(msgspec.Struct, frozen=True):
    """The customers and metrics of a run. Events come under `keys`: an alias for each of `customer_ids`, in order."""

    customer_ids: Sequence[str]
    keys: Sequence[str]
    calls: str
    tokens: str
    dimensions: Sequence[str]


def prepare(api: Api, run: str, customers: int, dimensions: Sequence[str]) -> Subject:
    """Customers of this run alone, so that nobody else's events are compared; metrics of former runs serve again."""
    keys = [f"load-{run}-{number}" for number in range(customers)]
    made = [api.call("POST", "/v1/customers", {"name": f"Load {key}", "ingest_aliases": [key]}) for key in keys]
    known = {row["name"]: row["id"] for row in api.pages("GET", "/v1/billable-metrics") if row["archived_at"] is None}
    by = ", ".join(dimensions)
    calls, tokens = f"Load test calls by {by}", f"Load test tokens by {by}"
    return Subject(
        [answer["data"]["id"] for answer in made],
        keys,
        known.get(calls) or _metric(api, calls, dimensions, {"aggregation_type": "COUNT"}),
        known.get(tokens) or _metric(api, tokens, dimensions, {"aggregation_type": "SUM", "aggregation_key": TOKENS}),
        dimensions,
    )


def _metric(api: Api, name: str, dimensions: Sequence[str], what: dict[str, object]) -> str:
    body = {"name": name, "event_type_filter": {"in_values": [EVENT_TYPE]}, "group_keys": [[d] for d in dimensions]}
    made: str = api.call("POST", "/v1/billable-metrics/create", {**body, **what})["data"]["id"]
    return made


def usage_by_group(api: Api, subject: Subject, hours: tuple[int, int]) -> dict[Place, Amount]:
    """POST /v1/usage/groups: every customer, by all dimensions and hour."""
    values: dict[Place, list[Decimal]] = {}
    for customer_id, key in zip(subject.customer_ids, subject.keys, strict=True):
        for at, metric in enumerate((subject.calls, subject.tokens)):
            question = {
                "billable_metric_id": metric,
                "customer_id": customer_id,
                "window_size": "HOUR",
                "group_key": subject.dimensions,
                **_bounds(hours),
            }
            for row in api.pages("POST", "/v1/usage/groups", question):
                # A value that is absent is no text: it cannot be mistaken for one that was sent.
                groups = tuple(row["group"].get(name, "(absent)") for name in subject.dimensions)
                _add(values, Place(key, _hour(row["starting_on"]), groups), at, row["value"])
    return _amounts(values)


def usage_by_hour(api: Api, subject: Subject, hours: tuple[int, int]) -> dict[Place, Amount]:
    """POST /v1/usage: every customer by hour, not grouped."""
    values: dict[Place, list[Decimal]] = {}
    key_of = dict(zip(subject.customer_ids, subject.keys, strict=True))
    for customer_ids in _portions(subject.customer_ids, max(1, USAGE_ROWS_MAX // (2 * (hours[1] - hours[0])))):
        question = {
            "billable_metrics": [{"id": subject.calls}, {"id": subject.tokens}],
            "customer_ids": customer_ids,
            "window_size": "HOUR",
            **_bounds(hours),
        }
        for row in api.pages("POST", "/v1/usage", question):
            place = Place(key_of[row["customer_id"]], _hour(row["start_timestamp"]), ())
            _add(values, place, int(row["billable_metric_id"] == subject.tokens), row["value"])
    return _amounts(values)


def _bounds(hours: tuple[int, int]) -> dict[str, str]:
    start, end = (from_us(hour * US_PER_HOUR).isoformat() for hour in hours)
    return {"starting_on": start, "ending_before": end}


def _hour(text: str) -> int:
    instant = datetime.fromisoformat(text)
    assert instant >= EPOCH
    return to_us(instant) // US_PER_HOUR


def _add(values: dict[Place, list[Decimal]], place: Place, at: int, value: Any) -> None:
    values.setdefault(place, [Decimal(0), Decimal(0)])[at] += Decimal(value)


def _amounts(values: dict[Place, list[Decimal]]) -> dict[Place, Amount]:
    return {place: Amount(events, tokens) for place, (events, tokens) in values.items() if events or tokens}


def _portions(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
