"""Bad input over HTTP: DESIGN.md section 5 settles who refuses what. One bad event never sinks its batch-mates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import count
from typing import Any

import pytest

from builders import Body, a_metric_body, a_sum_body, an_event, rfc3339, to_json, yesterday
from server import Answer, PenstockServer, eventually

NUMBERS = count()


@dataclass
class Shop:
    """A customer of a running server, known by an alias of its own, and what is counted of it."""

    server: PenstockServer
    customer_id: str
    alias: str
    count_metric: str
    sum_metric: str

    def element(self, transaction_id: str, properties: object = None, **fields: Any) -> bytes:
        """An event of this customer as JSON text; `properties` may be text as it shall be sent."""
        event = an_event(f"{self.alias}-{transaction_id}", customer_id=self.alias, **fields)
        text = properties if isinstance(properties, bytes) else to_json(properties or {"units": 1})
        return to_json({**event, "properties": "HERE"}).replace(b'"HERE"', text)

    def send(self, *elements: bytes) -> Answer:
        return self.server.raw.post("/v1/ingest", b"[" + b",".join(elements) + b"]")

    def send_with_mates(self, element: bytes) -> Answer:
        """The element between two good events of one unit each."""
        return self.send(self.element("mate-1"), element, self.element("mate-2"))

    def counted(self) -> tuple[Decimal | None, Decimal | None]:
        """How many events count, and their units."""
        start, end = yesterday() - timedelta(days=40), yesterday() + timedelta(days=3)
        metrics = (self.count_metric, self.sum_metric)
        count, total = (self.server.usage(each, self.customer_id, start, end).get((start, ())) for each in metrics)
        return count, total


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path_factory.mktemp("bad-input") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def metrics(server: PenstockServer) -> tuple[str, str]:
    bodies: tuple[Body, Body] = (a_metric_body("events"), a_sum_body("units"))
    first, second = (server.client.v1.billable_metrics.create(**body).data.id for body in bodies)
    return first, second


@pytest.fixture
def shop(server: PenstockServer, metrics: tuple[str, str]) -> Shop:
    alias = f"shop-{next(NUMBERS)}"
    customer_id = server.client.v1.customers.create(name=alias, ingest_aliases=[alias]).data.id
    return Shop(server, customer_id, alias, *metrics)


def without(element: bytes, field: str) -> bytes:
    """The event without one of its fields."""
    return to_json({name: value for name, value in an_event_of(element).items() if name != field})


def an_event_of(element: bytes) -> Body:
    return dict(Answer(0, {}, element).json)


def timestamp(at: datetime) -> Body:
    return {"timestamp": rfc3339(at)}


NOW = datetime.now(UTC)
REJECTED: dict[str, tuple[Any, str]] = {
    "a missing id": (lambda shop: without(shop.element("bad"), "transaction_id"), "transaction_id"),
    "an empty id": (lambda shop: to_json(an_event("", customer_id=shop.alias)), "transaction_id is empty"),
    "an id of 300 characters": (lambda shop: shop.element("x" * 300), "transaction_id has 3"),
    "an id that is a number": (
        lambda shop: to_json(an_event(customer_id=shop.alias) | {"transaction_id": 7}),
        "transaction_id",
    ),
    "no customer": (lambda shop: without(shop.element("bad"), "customer_id"), "customer_id"),
    "an empty customer": (lambda shop: to_json(an_event("bad", customer_id="")), "customer_id is empty"),
    "no timestamp": (lambda shop: without(shop.element("bad"), "timestamp"), "timestamp"),
    "NaN": (lambda shop: shop.element("bad", b'{"units": NaN}'), "JSON"),
    "Infinity": (lambda shop: shop.element("bad", b'{"units": -Infinity}'), "JSON"),
    "a time without a zone": (lambda shop: shop.element("bad", timestamp="2026-11-20T12:00:00"), "no time zone"),
    "a time of 35 days ago": (lambda shop: shop.element("bad", **timestamp(NOW - timedelta(days=35))), "34 days"),
    "a time in 25 hours": (lambda shop: shop.element("bad", **timestamp(NOW + timedelta(hours=25))), "24 hours"),
    "no time at all": (lambda shop: shop.element("bad", timestamp="yesterday"), "RFC 3339"),
    "200 levels of nesting": (lambda shop: shop.element("bad", nested(200)), "64 levels"),
    "30,000 levels of nesting": (lambda shop: shop.element("bad", nested(30_000)), "64 levels"),
    "properties of 65 KiB": (lambda shop: shop.element("bad", {"text": "x" * 65 * 1024}), "65536"),
    "properties that are a list": (lambda shop: shop.element("bad", b"[1]"), "object"),
    "an id that is no UTF-8": (lambda shop: shop.element("bad").replace(b"-bad", b"-\xff\xfe"), "utf-8"),
    "an element that is no object": (lambda shop: b"17", "object"),
}


def nested(levels: int) -> bytes:
    """An object of so many levels."""
    return b'{"units":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize("name", REJECTED)
def test_a_bad_event_is_rejected_with_its_reason_and_its_batch_mates_count(shop: Shop, name: str) -> None:
    make, reason = REJECTED[name]

    answer = shop.send_with_mates(make(shop))

    assert answer.status == 400
    assert (answer.json["accepted"], answer.json["rejected"]) == (2, 1)
    (verdict,) = answer.json["events"]
    assert (verdict["index"], verdict["verdict"]) == (1, "rejected")
    assert reason in verdict["reason"]
    assert answer.json["message"]
    eventually(shop.counted, (2, 2))


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"[{]", 400, "JSON"),
        (b'[{"transaction_id": "cut', 400, "JSON"),
        (b"", 400, "JSON"),
        (b'"text"', 400, "array"),
        (b"\xff\xfe", 400, "JSON"),
    ],
)
def test_a_body_that_is_no_array_of_events_is_refused_as_a_whole(
    shop: Shop, body: bytes, status: int, reason: str
) -> None:
    answer = shop.server.raw.post("/v1/ingest", body)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert reason in answer.json["detail"]
    assert answer.json["message"] == answer.json["detail"]


def test_more_than_10_000_events_are_refused_and_exactly_10_000_are_not(shop: Shop) -> None:
    elements = [shop.element(str(number)) for number in range(10_001)]

    too_many = shop.send(*elements)

    assert too_many.status == 400
    assert "10000" in too_many.json["detail"]
    assert shop.send(*elements[:10_000]).status == 200
    eventually(shop.counted, (10_000, 10_000))


def test_a_body_of_33_mib_is_refused(shop: Shop) -> None:
    answer = shop.server.raw.post("/v1/ingest", b"[" + b" " * (33 * 2**20) + b"]")

    assert answer.status == 413
    assert answer.json["type"] == "urn:penstock:problem:too-large"


@pytest.mark.parametrize(
    "properties",
    [
        b'{"units": 1e400}',
        b'{"units": -1e400}',
        b'{"units": ' + b"9" * 60 + b"}",
        b'{"units": "' + b"9" * 60 + b'"}',
        b'{"units": 1e-13}',
        b'{"units": ' + b"9" * 27 + b"}",
        b'{"units": "\xff\xfe"}',
    ],
)
def test_a_number_out_of_range_or_invalid_utf8_in_a_metered_property_is_quarantined(
    shop: Shop, properties: bytes
) -> None:
    before = shop.server.outcomes()

    answer = shop.send_with_mates(shop.element("bad", properties))

    assert answer.status == 200
    assert answer.json["accepted"] == 3
    eventually(shop.counted, (2, 2))
    eventually(
        lambda: {
            name: events - before[name] for name, events in shop.server.outcomes().items() if events > before[name]
        },
        {"counted": 2, "quarantined": 1},
    )


@pytest.mark.parametrize(
    "properties",
    [
        {"units": True},
        {"units": "twelve"},
        {"units": ""},
        {"units": " 1 "},
        {"units": "NaN"},
        {"units": "0x10"},
        {"units": "x" * 1_000},
        {"units": None},
        {"units": [1]},
        {"units": {"a": 1}},
        {"other": 1},
        b'{"other": 1e400, "text": "\xff"}',
    ],
)
def test_what_is_no_number_counts_as_an_event_but_not_in_the_sum(shop: Shop, properties: object) -> None:
    assert shop.send_with_mates(shop.element("odd", properties)).status == 200

    eventually(shop.counted, (3, 2))


@pytest.mark.parametrize(
    ("properties", "units"),
    [
        (b'{"units": 1, "units": 40}', "40"),
        (b'{"\\u0075nits": 40}', "40"),
        (b'{"units": 1, "un\\u0069ts": 40}', "40"),
        (b'{"units": "40"}', "40"),
        (b'{"units": 4e1}', "40"),
        (b'{"units": 0.1}', "0.1"),
        (b'{"units": 12345678901234567890123456.123456789012}', "12345678901234567890123456.123456789012"),
        (b'{"units": -0.000000000001}', "-0.000000000001"),
    ],
)
def test_a_number_counts_to_its_last_digit_however_it_is_written(shop: Shop, properties: bytes, units: str) -> None:
    assert shop.send_with_mates(shop.element("good", properties)).status == 200

    with localcontext(prec=60):
        total = 2 + Decimal(units)
    eventually(shop.counted, (3, total))


def test_a_tenth_and_two_tenths_are_three_tenths(shop: Shop) -> None:
    assert shop.send(shop.element("1", b'{"units": 0.1}'), shop.element("2", b'{"units": 0.2}')).status == 200

    eventually(shop.counted, (2, Decimal("0.3")))


def test_repeats_are_named_and_harmless(shop: Shop) -> None:
    first, other = shop.element("1"), shop.element("1", {"units": 100})

    answers = [shop.send(first, first), shop.send(other), shop.send(first)]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert [(a.json["accepted"], a.json["duplicate"], a.json["conflict"]) for a in answers] == [
        (1, 1, 0),
        (0, 0, 1),
        (0, 1, 0),
    ]
    eventually(shop.counted, (1, 1))


def test_an_event_that_was_rejected_may_be_sent_again_mended(shop: Shop) -> None:
    bad = shop.element("1", timestamp="2026-11-20T12:00:00")
    assert shop.send(bad).status == 400

    assert shop.send(shop.element("1")).json["accepted"] == 1
    eventually(shop.counted, (1, 1))


def test_events_of_an_unknown_customer_are_kept_and_count_once_it_appears(shop: Shop) -> None:
    stranger = f"stranger-of-{shop.alias}"
    events = [an_event(f"{stranger}-{n}", customer_id=stranger, properties={"units": 5}) for n in range(3)]
    shop.server.raw.ingest(events)
    eventually(lambda: {"customer_id": stranger} in shop.server.raw.get("/v1/usage/unmatched").json["data"], True)
    assert shop.server.raw.post("/v1/usage/groups", usage_query(shop, stranger)).status == 404

    customer_id = shop.server.client.v1.customers.create(name="Late", ingest_aliases=[stranger]).data.id

    assert {"customer_id": stranger} not in shop.server.raw.get("/v1/usage/unmatched").json["data"]
    known = Shop(shop.server, customer_id, stranger, shop.count_metric, shop.sum_metric)
    eventually(known.counted, (Decimal(3), Decimal(15)))  # who is touched is written before the cells are
    assert shop.server.raw.post("/v1/usage/groups", usage_query(shop, stranger)).json["data"][0]["value"] == 3


def usage_query(shop: Shop, customer: str) -> Body:
    return {
        "billable_metric_id": shop.count_metric,
        "customer_id": customer,
        "window_size": "NONE",
        "starting_on": rfc3339(yesterday()),
        "ending_before": rfc3339(yesterday() + timedelta(days=1)),
    }


def test_a_metric_created_after_its_events_counts_them_all(shop: Shop) -> None:
    shop.send(*(shop.element(str(n), {"units": n, "late": 2}) for n in range(1, 11)))
    eventually(shop.counted, (10, 55))

    late = shop.server.client.v1.billable_metrics.create(**a_sum_body("late")).data.id
    shop.send(shop.element("11", {"units": 45, "late": 3}))

    eventually(shop.counted, (11, 100))
    eventually(Shop(shop.server, shop.customer_id, shop.alias, shop.count_metric, late).counted, (11, 23))


@pytest.mark.parametrize("key", [None, "pk_wrong_0123456789abcdef", "", "Bearer"])
def test_without_a_valid_key_nothing_is_answered_or_taken(shop: Shop, key: str | None) -> None:
    client = type(shop.server.raw)(shop.server.port, key)

    answers = [
        client.post("/v1/ingest", b"[" + shop.element("1") + b"]"),
        client.get(f"/v1/customers/{shop.customer_id}"),
        client.post("/v1/usage/groups", usage_query(shop, shop.alias)),
    ]

    assert [answer.status for answer in answers] == [401, 401, 401]
    assert all(answer.json["message"] for answer in answers)
    shop.send(shop.element("2"))
    eventually(shop.counted, (1, 1))
