"""A small book against a draft card: the routes, the command and its files say what was computed by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from builders import Body, a_metric_body, a_rate_body, an_event, month_of, rfc3339, yesterday
from penstock.app.cli import main
from server import API_KEY, PenstockServer, eventually

CALLS = {"ann": 130, "bob": 40, "eve": 0}
MONTH = month_of(yesterday())
SPAN = {"starting_on": rfc3339(MONTH[0]), "ending_before": rfc3339(MONTH[1])}


class Book:
    """Three customers on a card of 5 cents a call, bob at 80 % of it; a draft of 10 cents up to 100 calls, then 1."""

    def __init__(self, server: PenstockServer) -> None:
        self.server = server
        api = server.client.v1
        metric = api.billable_metrics.create(**a_metric_body("calls")).data.id
        self.product = api.contracts.products.create(name="Calls", type="USAGE", billable_metric_id=metric).data.id
        tiers = [{"price": 10, "size": 100}, {"price": 1}]
        self.card, self.draft = self.rate_card("List", price=5), self.rate_card("Draft", tiers=tiers)
        self.customers = {name: api.customers.create(name=name, ingest_aliases=[name]).data.id for name in CALLS}
        self.contracts = {name: self.contract(name) for name in CALLS}
        server.raw.ingest(
            an_event(f"{name}-{n}", customer_id=name) for name, calls in CALLS.items() for n in range(calls)
        )
        eventually(lambda: sum(server.outcomes().values()), sum(CALLS.values()))

    def rate_card(self, name: str, **price: Any) -> str:
        card = self.server.client.v1.contracts.rate_cards.create(name=name).data.id
        rate = a_rate_body(self.product, MONTH[0], **price)
        self.server.client.v1.contracts.rate_cards.rates.add(rate_card_id=card, **rate)
        return card

    def contract(self, name: str) -> str:
        multiplier = {"type": "MULTIPLIER", "multiplier": 0.8, "starting_at": MONTH[0]}
        return self.server.client.v1.contracts.create(
            customer_id=self.customers[name],
            rate_card_id=self.card,
            starting_at=MONTH[0],
            overrides=[multiplier] if name == "bob" else [],  # type: ignore[list-item]  # a body as it is sent
        ).data.id

    def backtest(self, **body: Any) -> list[Body]:
        """Name, old, new and difference of each row, all pages."""
        rows: list[Body] = []
        cursor = "?limit=2"
        while cursor:
            answer = self.server.raw.post(f"/v1/contracts/backtest{cursor}", SPAN | body)
            assert answer.status == 200, answer
            rows += answer.json["data"]
            cursor = f"?limit=2&next_page={answer.json['next_page']}" if answer.json["next_page"] else ""
        return rows

    def command(self, *arguments: str) -> int:
        url = f"http://127.0.0.1:{self.server.port}"
        when = ["--from", str(MONTH[0].date()), "--to", str(MONTH[1].date())]
        return main(["backtest", "--url", url, "--api-key", API_KEY, *when, *arguments])


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    with PenstockServer(tmp_path_factory.mktemp("book") / "data") as server:
        yield Book(server)


# ann: 130 x 0.05, then 100 x 0.10 + 30 x 0.01; bob: 80 % of 40 x 0.05, then of 40 x 0.10
EXPECTED = {
    "ann": ("6.50", "10.30", "3.80"),
    "bob": ("1.60", "3.20", "1.60"),
    "eve": ("0.00", "0.00", "0.00"),
}


def amounts(rows: list[Body]) -> dict[str, tuple[str, str, str]]:
    return {row["customer_name"]: (row["old"], row["new"], row["difference"]) for row in rows}


def test_the_book_against_the_draft_is_what_was_computed_by_hand(book: Book) -> None:
    rows = book.backtest(rate_card_id=book.draft)

    assert amounts(rows) == EXPECTED
    [ann] = [row for row in rows if row["customer_name"] == "ann"]
    assert (ann["customer_id"], ann["contract_id"]) == (book.customers["ann"], book.contracts["ann"])
    assert (ann["rate_card_id"], ann["currency"]) == (book.card, "USD")
    assert [(period["starting_at"], period["new"]) for period in ann["periods"]] == [(rfc3339(MONTH[0]), "10.30")]


def test_the_book_against_its_own_card_differs_nowhere(book: Book) -> None:
    rows = book.backtest(rate_card_id=book.card)

    assert {(name, old, difference) for name, (old, _, difference) in amounts(rows).items()} == {
        ("ann", "6.50", "0.00"),
        ("bob", "1.60", "0.00"),
        ("eve", "0.00", "0.00"),
    }


def test_old_amounts_are_those_of_the_invoices(book: Book) -> None:
    invoices = book.server.client.v1.customers.invoices
    totals = {
        name: [invoice.total for invoice in invoices.list(customer_id=id, status="DRAFT")]
        for name, id in book.customers.items()
    }

    assert totals == {"ann": [650], "bob": [160], "eve": [0]}


def test_an_override_of_everybody_and_rates_written_out_are_tried_too(book: Book) -> None:
    tenth_off = {"type": "MULTIPLIER", "multiplier": 0.9, "starting_at": rfc3339(MONTH[0])}
    cheap = a_rate_body(book.product, MONTH[0], price=2) | {"starting_at": rfc3339(MONTH[0])}

    by_override = amounts(book.backtest(add_overrides=[tenth_off], ignore_overrides=True))
    by_rates = amounts(book.backtest(rates=[cheap]))

    assert {name: new for name, (_, new, _) in by_override.items()} == {"ann": "5.85", "bob": "1.80", "eve": "0.00"}
    assert {name: new for name, (_, new, _) in by_rates.items()} == {"ann": "2.60", "bob": "0.64", "eve": "0.00"}


def test_only_contracts_on_a_card_are_tried_where_it_is_named(book: Book) -> None:
    assert book.backtest(rate_card_id=book.card, only_rate_card_id=book.draft) == []


def test_a_preview_shows_both_sides_with_their_explanations(book: Book) -> None:
    ann = {"customer_id": book.customers["ann"], "contract_id": book.contracts["ann"]}

    answer = book.server.raw.post("/v1/contracts/preview", SPAN | ann | {"rate_card_id": book.draft})

    assert answer.status == 200, answer
    [period] = answer.json["data"]["periods"]
    assert period["totals"] == [{"currency": "USD", "old": "6.50", "new": "10.30", "difference": "3.80"}]
    [charge] = period["new"]["charges"]
    [listed] = charge["alternatives"]
    parts = [(part["level"], part["quantity"], str(part["amount"])) for part in listed["parts"]]
    assert parts == [(1, 100, "10.00"), (2, 30, "0.30")]
    assert listed["origin"]["rate_card_id"] == book.draft


BACKWARDS = {"starting_on": SPAN["ending_before"], "ending_before": SPAN["starting_on"]}


@pytest.mark.parametrize("route", ["backtest", "preview"])
def test_a_draft_is_refused_where_there_is_nothing_to_try_it_on_too(book: Book, route: str) -> None:
    long_ago = {"starting_on": "2020-01-01T00:00:00Z", "ending_before": "2020-02-01T00:00:00Z"}
    whose = {"customer_id": book.customers["ann"], "contract_id": book.contracts["ann"]}
    body = long_ago | (whose if route == "preview" else {}) | {"rate_card_id": "nowhere"}

    answer = book.server.raw.post(f"/v1/contracts/{route}", body)

    assert (answer.status, answer.json["field"]) == (404, "rate_card_id"), answer


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"rate_card_id": "nowhere"}, 404, "rate_card_id"),
        ({}, 400, "rate_card_id"),
        ({"rate_card_id": "card"} | BACKWARDS, 400, "ending_before"),
        ({"add_overrides": [{"type": "MULTIPLIER"}]}, 400, "add_overrides[0]"),
        ({"rates": [{"product_id": "nothing"}]}, 400, "rates[0]"),
        ({"rates": 7}, 400, "rates"),
        ({"rate_card_id": "card", "rate_card": "misspelt"}, 400, None),
    ],
)
@pytest.mark.parametrize("route", ["backtest", "preview"])
def test_what_cannot_be_tried_is_refused_by_the_name_of_its_field(
    book: Book, route: str, body: Body, status: int, field: str | None
) -> None:
    whose = {"customer_id": book.customers["ann"], "contract_id": book.contracts["ann"]}

    answer = book.server.raw.post(f"/v1/contracts/{route}", SPAN | (whose if route == "preview" else {}) | body)

    assert (answer.status, answer.json.get("field")) == (status, field), answer


def test_the_command_writes_json_csv_and_a_page(
    book: Book, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / f"result.{name}" for name in ("json", "csv", "plot")}
    options = [word for name, file in files.items() for word in (f"--{name}", str(file))]

    code = book.command("--card", book.draft, *options)

    assert code == 0
    told = capsys.readouterr().out
    assert "3 contracts: 2 dearer, 0 cheaper" in told
    assert "5.40 USD (+66.6 %)" in told
    whole = json.loads(files["json"].read_text())
    assert amounts(whole["contracts"]) == EXPECTED
    assert [(total["old"], total["new"]) for total in whole["totals"]] == [("8.10", "13.50")]
    lines = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert {line["customer_name"]: (line["old"], line["new"], line["difference"]) for line in lines} == EXPECTED
    assert {datetime.fromisoformat(line["starting_at"]) for line in lines} == {MONTH[0]}
    page = files["plot"].read_text()
    assert "<svg" in page
    assert "ann: 3.80" in page
    assert "http" not in page  # nothing is loaded from elsewhere


def test_the_command_takes_a_draft_from_a_file(book: Book, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft = tmp_path / "draft.json"
    draft.write_text(json.dumps({"rate_card_id": book.draft, "ignore_overrides": True}))

    assert book.command("--draft", str(draft)) == 0

    assert "new                        14.30 USD" in capsys.readouterr().out  # bob's 4.00 in full


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--card", "nowhere"], "rate_card_id"),
        (["--card", "nowhere", "--to", "2020-01-01"], "--to"),
        (["--card", "nowhere", "--from", "never"], "--from"),
        (["--card", "nowhere", "--csv", "/no/such/folder/a.csv"], "--csv"),
        (["--card", "nowhere", "--against", "elsewhere"], "only_rate_card_id"),
        (["--draft", "/no/such/file"], "/no/such/file"),
    ],
)
def test_the_command_names_what_it_refuses(
    book: Book, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert book.command(*arguments) == 2

    told = capsys.readouterr()
    assert named in told.err
    assert told.out == ""
