"""Test data with defaults: a test's call names only what varies. Bodies are those of the API, as plain dicts."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, TypeVar

import msgspec
import numpy as np

from penstock.kernel.chunk import Chunk
from penstock.kernel.identity import HASH_KEY_BYTES, hash_bodies, identify
from penstock.kernel.meter import Aggregation, EventTypeFilter, Metric, PropertyFilter
from penstock.kernel.record import Kind, LogRecord
from penstock.kernel.window import to_us

T = TypeVar("T")
Body = dict[str, Any]

TENANT = "tenant-1"
HASH_KEY = bytes(range(HASH_KEY_BYTES))
_JSON = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def to_json(value: object) -> bytes:
    """JSON text in which a Decimal is a number with all its digits."""
    return _JSON.encode(value)


@functools.cache
def yesterday() -> datetime:
    """Midnight UTC at which yesterday began: young enough to be accepted, old enough to be wholly past.

    Asked once, so that a run through midnight does not change its mind.
    """
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=1)


def month_of(day: datetime) -> tuple[datetime, datetime]:
    """The calendar month that holds `day`: its first midnight and the next month's."""
    first = day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=32)).replace(day=1)


def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in order, `size` at a time."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def an_event(transaction_id: str = "event-1", **fields: Any) -> Body:
    """An event of yesterday noon; `at` may be an instant."""
    at = fields.pop("at", None) or yesterday() + timedelta(hours=12)
    return {
        "transaction_id": transaction_id,
        "customer_id": "acme",
        "event_type": "llm_call",
        "timestamp": rfc3339(at),
        "properties": {},
        **fields,
    }


def a_metric_body(name: str, aggregation_type: str = "COUNT", **fields: Any) -> Body:
    """What POST /v1/billable-metrics/create takes: events of type `llm_call`."""
    return {
        "name": name,
        "aggregation_type": aggregation_type,
        "event_type_filter": {"in_values": ["llm_call"]},
        **fields,
    }


def a_sum_body(key: str, **fields: Any) -> Body:
    return a_metric_body(f"sum of {key}", "SUM", aggregation_key=key, **fields)


def a_rate_body(product_id: str, starting_at: datetime, **fields: Any) -> Body:
    """What POST /v1/contract-pricing/rate-cards/addRate takes beside the card: a flat `price` in cents, or `tiers`."""
    kind = {"rate_type": "TIERED" if "tiers" in fields else "FLAT"}
    return {"product_id": product_id, "starting_at": starting_at, "entitled": True, **kind, **fields}


def a_commit_body(product_id: str, cents: int, starting_at: datetime, ending_before: datetime, **fields: Any) -> Any:
    """A prepaid commit of one segment, as POST /v1/contracts/create takes it."""
    item = {"amount": cents, "starting_at": starting_at, "ending_before": ending_before}
    return {
        "product_id": product_id,
        "type": "PREPAID",
        "access_schedule": {"schedule_items": [item]},
        **fields,
    }


def a_metric(metric_id: str, body: Mapping[str, Any], tenant: str = TENANT) -> Metric:
    """The kernel's metric for a body that the API takes."""
    types = body.get("event_type_filter") or {}
    names = dict.fromkeys(name for compound in body.get("group_keys") or () for name in compound)
    return Metric(
        id=metric_id,
        tenant=tenant,
        name=body["name"],
        aggregation=Aggregation(body["aggregation_type"]),
        aggregation_key=body.get("aggregation_key"),
        event_types=EventTypeFilter(_texts(types.get("in_values")), _texts(types.get("not_in_values"))),
        property_filters=tuple(
            PropertyFilter(
                rule["name"], rule.get("exists"), _texts(rule.get("in_values")), _texts(rule.get("not_in_values"))
            )
            for rule in body.get("property_filters") or ()
        ),
        group_keys=tuple(names),
    )


def _texts(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def a_chunk(events: Sequence[Mapping[str, Any]], tenant: str = TENANT, hash_key: bytes = HASH_KEY) -> Chunk:
    """Event bodies as the chunk that the gateway of a log with this key would make of them."""
    ids = [event["transaction_id"] for event in events]
    customers = [event["customer_id"] for event in events]
    types = [event["event_type"] for event in events]
    times = np.array([to_us(datetime.fromisoformat(event["timestamp"])) for event in events], np.int64)
    properties = [to_json(event.get("properties", {})) for event in events]
    return Chunk.build(
        identities=identify(hash_key, tenant, ids),
        body_hashes=hash_bodies(customers, types, times, properties),
        tenants=[tenant] * len(events),
        customers=customers,
        event_types=types,
        times_us=times,
        transaction_ids=ids,
        properties=properties,
    )


def a_record(offset: int, events: Sequence[Mapping[str, Any]], **fields: Any) -> LogRecord:
    """A chunk record of partition 0 that was stamped and appended today, `offset` seconds after midnight."""
    at = to_us(yesterday() + timedelta(days=1, seconds=offset))
    values = {"partition": 0, "kind": Kind.CHUNK, "stamped_at_us": at, "appended_at_us": at}
    return LogRecord(offset=offset, payload=a_chunk(events).encode(), **(values | fields))


def decimal_sum(values: Iterable[Decimal | None]) -> Decimal:
    return sum((value for value in values if value is not None), Decimal(0))
