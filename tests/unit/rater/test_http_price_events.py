"""POST /v1/price/events: the events of a source page by page, in the form in which a price takes them."""

from __future__ import annotations

from typing import Any

import pytest

from builders import to_json
from penstock.kernel.metered_event import EventSource
from penstock.kernel.window import Span
from unit.rater.rating import JUNE, Used, june
from unit.rater.serving import Server

PATH = "/v1/price/events"
SOURCE = EventSource(
    "tokens", ("customer-1",), (Span(JUNE.start, june(10)), Span(june(20), JUNE.end)), ("region",), ("rate",), (7,)
)


def body(**fields: Any) -> dict[str, Any]:
    return {name: getattr(SOURCE, name) for name in SOURCE.__struct_fields__} | fields


@pytest.fixture
def events(server: Server) -> list[dict[str, Any]]:
    """What is read of five events, of which one lies outside the spans."""
    server.usage.events_of["tokens"] = [
        Used(june(day), "10", {"region": "eu"} if day % 2 else {}, id=f"e{day}", numbers={"rate": "0.50"})
        for day in (2, 3, 15, 21, 22)
    ]
    return [
        {
            "id": f"e{day}",
            "timestamp": f"2026-06-{day:02}T00:00:00Z",
            "quantity": "10",
            "values": {"region": "eu" if day % 2 else None},
            "rate": "0.5",
        }
        for day in (2, 3, 21, 22)
    ]


def test_pages_hold_every_event_once_and_a_price_takes_them(server: Server, events: list[dict[str, Any]]) -> None:
    found: list[dict[str, Any]] = []
    path = f"{PATH}?limit=3"
    while path:
        page = server.post(path, body()).json()
        found += page["data"]
        path = page["next_page"] and f"{PATH}?limit=3&next_page={page['next_page']}"

    assert found == events
    asked = {"price": {"model": "DYNAMIC"}, "events": found}
    assert server.post("/v1/price", asked).json()["amount"] == "20.00"


def test_the_source_is_read_as_it_was_told(server: Server, events: list[dict[str, Any]]) -> None:
    told = body(layers=["b1"], filters=[["region", None]], revision="r1")

    page = server.post(PATH, told).json()

    assert [event["id"] for event in page["data"]] == ["e2", "e22"]
    [source] = server.usage.sources
    assert to_json(source) == to_json(told | {"filters": (("region", None),)})


def test_an_event_without_keys_and_numbers_tells_neither(server: Server, events: list[dict[str, Any]]) -> None:
    page = server.post(PATH, body(keys=[], numbers=[])).json()

    assert {tuple(event) for event in page["data"]} == {("id", "timestamp", "quantity")}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"spans": []}, "spans"),
        ({"spans": [{"start": JUNE.end, "end": JUNE.start}]}, "spans"),
        ({"spans": [{"start": JUNE.start, "end": JUNE.end}, {"start": june(5), "end": JUNE.end}]}, "spans"),
        ({"spans": [{"start": "2026-06-01T00:00:00", "end": JUNE.end}]}, "spans[0].start"),
        ({"vector": [-2]}, "vector[0]"),
        ({"vector": [2**70]}, "vector[0]"),
        ({"customers": []}, "customers"),
        ({"numbers": ["a", "b"]}, "numbers"),
        ({"filters": [["a", 1]]}, "filters[0][1]"),
    ],
)
def test_what_is_no_source_is_refused_by_field(server: Server, fields: dict[str, Any], field: str) -> None:
    status, named = server.refused(PATH, body(**fields))

    assert status == 400
    assert (named or "").replace("[...]", "[0]").startswith(field), named
    assert server.usage.sources == []


def test_a_page_that_was_made_up_is_refused(server: Server) -> None:
    assert server.refused(f"{PATH}?next_page=made-up", body()) == (400, "next_page")
