"""A backfill over HTTP: opened, sent, committed and reverted, with every aggregation as the reference model has it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import reference
from builders import Body, a_metric_body, a_sum_body, an_event, rfc3339, to_json, yesterday
from layer_reference import counted
from level_reference import level_time
from server import Answer, PenstockServer, RawClient, eventually

DAY = yesterday()
END = DAY + timedelta(days=1)
START, STOP = DAY + timedelta(hours=6), DAY + timedelta(hours=12, minutes=15)  # of the backfilled interval
GROUPS = [["region"]]
BODIES: dict[str, Body] = {
    kind: a_metric_body(kind, kind, group_keys=GROUPS, **({} if kind == "COUNT" else {"aggregation_key": "units"}))
    for kind in ("COUNT", "SUM", "MAX", "MIN", "LATEST", "UNIQUE", "TIME_WEIGHTED_SUM")
}


def events(name: str, count: int, step: int, customer: str = "acme") -> list[Body]:
    """Over the whole day, some at the very edges of the interval."""
    minutes = [*(step * n for n in range(count)), 359, 360, 734, 735]
    return [
        an_event(
            f"{name}-{n}",
            customer_id=customer,
            at=DAY + timedelta(minutes=minute % 1440),
            properties={"units": Decimal(n * step % 17) - Decimal("3.5"), "region": ("eu", "us", "ap")[n % 3]},
        )
        for n, minute in enumerate(minutes)
    ]


LIVE = events("live", 40, 31)
# Ids that live events have too, and repeats: a layer has a dedupe scope of its own.
SENT = [
    {**event, "transaction_id": event["transaction_id"].replace("sent", "live")}
    for event in events("sent", 30, 47)
    if START <= reference.instant(event["timestamp"]) < STOP
]
AFTER = events("after", 20, 61)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path_factory.mktemp("backfills") / "data") as made:
        for name in ("acme", "globex"):
            made.client.v1.customers.create(name=name, ingest_aliases=[name])
        yield made


def a_backfill(client: RawClient, **fields: Any) -> Answer:
    return client.post(
        "/v1/backfills/create", {"starting_on": rfc3339(START), "ending_before": rfc3339(STOP), **fields}
    )


def opened(server: PenstockServer, **fields: Any) -> str:
    answer = a_backfill(server.raw, **fields)
    assert answer.status == 200, answer
    return str(answer.json["data"]["id"])


def send(server: PenstockServer, backfill: str, sent: Sequence[Body]) -> Answer:
    return server.raw.post(f"/v1/ingest?backfill_id={backfill}", list(sent))


def change(server: PenstockServer, what: str, backfill: str) -> Answer:
    return server.raw.post(f"/v1/backfills/{what}", {"id": backfill})


def committed(server: PenstockServer, backfill: str) -> None:
    assert change(server, "commit", backfill).status == 200
    eventually(lambda: state(server, backfill), "COMMITTED")


def state(server: PenstockServer, backfill: str) -> str:
    return str(server.raw.get(f"/v1/backfills/{backfill}").json["data"]["state"])


def usage(server: PenstockServer, metric: str, start: datetime, end: datetime, customer: str = "acme") -> Any:
    return {key: value for key, value in server.usage(metric, customer, start, end, by=["region"]).items() if value}


def expected(kind: str, of: Sequence[Body], start: datetime, end: datetime, customer: str = "acme") -> Any:
    """By group, without zeros."""
    mine = [event for event in of if event["customer_id"] == customer]
    if kind != "TIME_WEIGHTED_SUM":
        found = reference.usage(BODIES[kind], mine, start, end, by=["region"])
        return {key: value for key, value in found.items() if value}
    regions = {event["properties"]["region"] for event in mine}
    areas = {
        (start, (region,)): level_time(
            BODIES[kind], [e for e in mine if e["properties"]["region"] == region], start, end
        )[0]
        for region in regions
    }
    return {key: value for key, value in areas.items() if value}


SPANS = (
    (DAY, END),
    (DAY + timedelta(hours=5, minutes=52), DAY + timedelta(hours=12, minutes=14, seconds=30)),
    (DAY + timedelta(hours=5, minutes=59), DAY + timedelta(hours=6, minutes=1)),
    (DAY + timedelta(hours=12, minutes=7), DAY + timedelta(hours=20)),
)


def test_a_backfill_replaces_its_interval_until_it_is_reverted(server: PenstockServer) -> None:
    metrics = {kind: server.client.v1.billable_metrics.create(**body).data.id for kind, body in BODIES.items()}
    server.raw.ingest(LIVE)
    backfill = opened(server, uniqueness_key="replace")

    def agree(of: Sequence[Body], *, also: dict[str, str] = metrics) -> None:
        for kind, metric in also.items():
            for start, end in SPANS:
                eventually(lambda: usage(server, metric, start, end), expected(kind, of, start, end))  # noqa: B023

    first = send(server, backfill, SENT[:9]).json
    again = send(server, backfill, SENT[4:]).json
    agree(LIVE)

    committed(server, backfill)
    server.raw.ingest(AFTER)
    in_force = counted(LIVE, SENT, AFTER, START, STOP)
    agree(in_force)

    later = {kind: server.client.v1.billable_metrics.create(**body).data.id for kind, body in BODIES.items()}
    agree(in_force, also=later)

    assert change(server, "revert", backfill).status == 200
    agree([*LIVE, *AFTER])
    agree([*LIVE, *AFTER], also=later)
    assert (first["accepted"], again["accepted"], again["duplicate"]) == (9, len(SENT) - 9, 5)
    events_of = server.raw.get(f"/v1/backfills/{backfill}").json["data"]["events"]
    assert (events_of["counted"], events_of["duplicate"]) == (len(SENT), 0)
    audit = server.raw.post("/v1/audit", {"starting_on": rfc3339(DAY), "ending_before": rfc3339(END)}).json["data"]
    assert (audit["differing_cells"], audit["error_events"]) == (0, 0)


def test_a_backfill_of_one_customer_leaves_the_others_as_they_are(server: PenstockServer) -> None:
    metric = server.client.v1.billable_metrics.create(**BODIES["SUM"]).data.id
    theirs = events("globex", 12, 97, "globex")
    server.raw.ingest(theirs)
    before = usage(server, metric, DAY, END)
    backfill = opened(server, customer_ids=["globex"])

    refused = send(server, backfill, [an_event("x", at=START)]).json
    one = an_event("one", customer_id="globex", at=START, properties={"units": 11, "region": "eu"})
    send(server, backfill, [one])
    committed(server, backfill)

    of = counted(theirs, [one], [], START, STOP, {"globex"})
    eventually(lambda: usage(server, metric, DAY, END, "globex"), expected("SUM", of, DAY, END, "globex"))
    assert usage(server, metric, DAY, END) == before
    assert refused["events"][0]["reason"] == "customer_id is not one of the backfill's customers"
    assert change(server, "revert", backfill).status == 200


def test_a_backfill_takes_events_of_its_interval_however_old_and_no_others(server: PenstockServer) -> None:
    start = DAY - timedelta(days=400)
    span = {"starting_on": rfc3339(start), "ending_before": rfc3339(start + timedelta(hours=1))}
    backfill = opened(server, **span)

    answer = send(
        server,
        backfill,
        [
            an_event("in", at=start),
            an_event("before", at=start - timedelta(seconds=1)),
            an_event("behind", at=start + timedelta(hours=1)),
        ],
    ).json

    assert (answer["accepted"], answer["rejected"]) == (1, 2)
    assert {event["reason"] for event in answer["events"]} == {"timestamp is not in the interval of the backfill"}
    metric = server.client.v1.billable_metrics.create(**a_metric_body("COUNT")).data.id
    committed(server, backfill)
    eventually(lambda: list(server.usage(metric, "acme", start, start + timedelta(hours=1)).values()), [1])
    assert change(server, "revert", backfill).status == 200
    assert server.usage(metric, "acme", start, start + timedelta(hours=1)) == {}


def test_the_same_formats_and_encodings_are_taken_as_of_live_events(server: PenstockServer) -> None:
    backfill = opened(server)
    lines = b"\n".join(to_json(event) for event in SENT[:3])
    packed = zlib.compress(lines, wbits=31)

    answer = server.raw.send(
        "POST",
        f"/v1/ingest?backfill_id={backfill}",
        packed,
        {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
    )

    assert (answer.status, answer.json["accepted"]) == (200, 3), answer


def test_what_comes_in_the_wrong_order_is_a_conflict_that_names_the_backfill(server: PenstockServer) -> None:
    backfill, other, third = opened(server), opened(server), opened(server)
    committed(server, backfill)

    closed = send(server, backfill, SENT[:1])
    overlapping = change(server, "commit", other)
    given_up = change(server, "revert", third)
    after_revert = [change(server, "commit", third), send(server, third, SENT[:1])]

    assert [answer.status for answer in (closed, overlapping, given_up, *after_revert)] == [409, 409, 200, 409, 409]
    assert f"backfill {backfill} is COMMITTED" in closed.json["detail"]
    assert f"backfill {backfill} is in force" in overlapping.json["detail"]
    assert all(f"backfill {third} is REVERTED" in answer.json["detail"] for answer in after_revert)
    again = [change(server, what, id).status for what, id in (("commit", backfill), ("revert", third))]
    assert again == [200, 200]
    assert change(server, "revert", backfill).status == 200
    committed(server, other)
    assert change(server, "revert", other).status == 200


def test_a_uniqueness_key_makes_one_backfill(server: PenstockServer) -> None:
    first = opened(server, uniqueness_key="once")
    again = opened(server, uniqueness_key="once")
    another = a_backfill(server.raw, uniqueness_key="once", ending_before=rfc3339(STOP + timedelta(hours=1)))

    assert again == first
    assert (another.status, another.json["field"]) == (409, "uniqueness_key")
    listed = [row["id"] for row in server.raw.get("/v1/backfills?limit=100").json["data"]]
    assert listed.count(first) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"starting_on": rfc3339(START + timedelta(minutes=1))}, "starting_on"),
        ({"ending_before": rfc3339(START)}, "ending_before"),
        ({"ending_before": rfc3339(END + timedelta(days=30))}, "ending_before"),
        ({"starting_on": rfc3339(DAY - timedelta(days=2_000))}, "starting_on"),
        ({"customer_ids": []}, "customer_ids"),
    ],
)
def test_a_backfill_that_cannot_be_is_refused_with_the_field(server: PenstockServer, fields: Body, field: str) -> None:
    answer = a_backfill(server.raw, **fields)

    assert (answer.status, answer.json["field"]) == (400, field), answer


def test_an_invoice_says_which_backfills_were_in_force(server: PenstockServer) -> None:
    api = server.client.v1
    customer = api.customers.create(name="Billed", ingest_aliases=["billed"]).data.id
    metric = api.billable_metrics.create(**a_sum_body("units")).data.id
    product = api.contracts.products.create(name="Units", type="USAGE", billable_metric_id=metric).data.id
    card = api.contracts.rate_cards.create(name="List").data.id
    month = DAY.replace(day=1)
    api.contracts.rate_cards.rates.add(
        rate_card_id=card, product_id=product, starting_at=month, entitled=True, rate_type="FLAT", price=100
    )
    api.contracts.create(customer_id=customer, rate_card_id=card, starting_at=month)
    backfill = opened(server, customer_ids=[customer])
    send(server, backfill, [an_event("b", customer_id="billed", at=START, properties={"units": 3})])
    committed(server, backfill)

    def draft() -> tuple[object, object]:
        [invoice] = server.raw.get(f"/v1/customers/{customer}/invoices").json["data"][-1:]
        return invoice["total"], server.raw.get(
            f"/v1/customers/{customer}/invoices/{invoice['id']}/explain"
        ).json["data"].get("backfills")

    eventually(draft, (300, [backfill]))
    assert change(server, "revert", backfill).status == 200
    eventually(draft, (0, []))
