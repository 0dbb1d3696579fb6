"""Files of events: what a row becomes, and what is said of a bad one."""

from __future__ import annotations

import io
from pathlib import PurePath

import pytest

from penstock.client.event import EVENT_BYTES_MAX
from penstock.client.files import FORMATS, BadRow, Defaults, Row, format_of

NAMED = Defaults(transaction_prefix="usage")
WHOLE = b'{"transaction_id":"t-1","customer_id":"acme","event_type":"call","timestamp":"2026-01-31T11:00:00Z"%s}'


def rows(form: str, text: bytes, defaults: Defaults = NAMED) -> list[Row | BadRow]:
    file = io.BytesIO(text)
    found = list(FORMATS[form](file, defaults))
    assert not file.closed
    return found


def an_event(transaction_id: str, properties: str, customer: str = "acme", kind: str = "call") -> bytes:
    text = f'"customer_id":"{customer}","event_type":"{kind}","timestamp":"2026-01-31T11:00:00Z"'
    return f'{{"transaction_id":"{transaction_id}",{text},"properties":{properties}}}'.encode()


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.ndjson", "ndjson"), ("a.JSONL", "ndjson"), ("a.b.csv", "csv"), ("a.json", None), ("csv", None)],
)
def test_the_format_is_told_by_the_suffix(name: str, form: str | None) -> None:
    assert format_of(PurePath(name)) == form


def test_a_whole_ndjson_row_is_sent_as_it_stands() -> None:
    exotic = WHOLE % b', "properties": {"a" : 1.50, "a":1e3},"more":[]'

    text = b"\xef\xbb\xbf" + exotic + b"\r\n\n  \n" + WHOLE % b""

    assert rows("ndjson", text) == [Row(1, exotic), Row(4, WHOLE % b"")]


def test_what_an_ndjson_row_lacks_comes_from_the_defaults() -> None:
    text = b'{"timestamp":"2026-01-31T11:00:00Z","properties":{"a":1.50},"customer_id":null}\n'

    assert rows("ndjson", text * 2, Defaults("globex", "page", "usage")) == [
        Row(1, an_event("usage:1", '{"a":1.50}', "globex", "page")),
        Row(2, an_event("usage:2", '{"a":1.50}', "globex", "page")),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "Input data was truncated"),
        (b"[1]", "Expected `object`, got `array`"),
        (WHOLE % b"" + b",", "JSON is malformed: trailing characters (byte 101)"),
        (b'{"customer_id":7}', "Expected `str | null`, got `int` - at `$.customer_id`"),
        (b'{"customer_id":"\xff"}', "'utf-8' codec can't decode"),
        (b"[" * 100_000, "Expected `object`, got `array`"),
        (b"{}", "the row has no customer_id"),
        (b'{"customer_id":"acme","event_type":"call"}', "the row has no timestamp"),
        (b'"' + b"a" * 2 * EVENT_BYTES_MAX + b'"', f"the line has more than {EVENT_BYTES_MAX} bytes"),
    ],
)
def test_a_bad_ndjson_row_is_told_by_its_line_and_stops_no_other(line: bytes, reason: str) -> None:
    first, bad, last = rows("ndjson", WHOLE % b"" + b"\n" + line + b"\n" + WHOLE % b"")

    assert (first, last) == (Row(1, WHOLE % b""), Row(3, WHOLE % b""))
    assert isinstance(bad, BadRow)
    assert bad.line == 2
    assert bad.reason.startswith(reason)


def test_an_ndjson_row_without_an_id_needs_a_prefix() -> None:
    assert rows("ndjson", b"{}", Defaults()) == [BadRow(1, "the row has no transaction_id")]


def test_csv_columns_beside_the_four_are_properties_with_their_text_as_written() -> None:
    text = (
        b"transaction_id,customer_id,event_type,timestamp,tokens,cost,note\n"
        b"t-1,acme,call,2026-01-31T11:00:00Z,1500,0.10,\n"
        b't-2,acme,call,2026-01-31T11:00:00Z,007,1E+400,"a ""b"",\nc"\r\n'
        b"\n"
        b"t-3,acme,call,2026-01-31T11:00:00Z,,,\xc3\xa9\n"
    )

    assert rows("csv", b"\xef\xbb\xbf" + text) == [
        Row(2, an_event("t-1", '{"tokens":"1500","cost":"0.10"}')),
        Row(4, an_event("t-2", '{"tokens":"007","cost":"1E+400","note":"a \\"b\\",\\nc"}')),
        Row(6, an_event("t-3", '{"note":"\u00e9"}')),
    ]


def test_what_a_csv_file_lacks_comes_from_the_defaults() -> None:
    text = b"timestamp,customer_id\n2026-01-31T11:00:00Z,\n2026-01-31T11:00:00Z,initech\n"

    assert rows("csv", text, Defaults("globex", "page", "usage.csv")) == [
        Row(2, an_event("usage.csv:2", "{}", "globex", "page")),
        Row(3, an_event("usage.csv:3", "{}", "initech", "page")),
    ]


def test_a_bad_csv_row_is_told_by_its_line_and_stops_no_other() -> None:
    text = (
        b"customer_id,event_type,timestamp\n"
        b"acme,call\n"
        b'acme,ca"ll,\n'
        b'acme,"ca"ll,2026-01-31T11:00:00Z\n'
        b"acme,\xff,2026-01-31T11:00:00Z\n"
        b"acme,call,\n"
        b"acme," + b"a" * 200_000 + b",2026-01-31T11:00:00Z\n"
        b"acme,call,2026-01-31T11:00:00Z\n"
    )

    assert rows("csv", text) == [
        BadRow(2, "the row has 2 cells, the header 3"),
        BadRow(3, "the row has no timestamp"),
        BadRow(4, "',' expected after '\"'"),
        BadRow(5, "the row is not UTF-8"),
        BadRow(6, "the row has no timestamp"),
        BadRow(7, "field larger than field limit (131072)"),
        Row(8, an_event("usage:8", "{}")),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "the file has no column customer_id"),
        (b"customer_id,event_type\na,b\n", "the file has no column timestamp"),
        (b"customer_id,event_type,timestamp,a,a\n", "the header names the column 'a' twice"),
        (b'"customer_id', "unexpected end of data"),
    ],
)
def test_a_csv_file_without_what_it_needs_is_refused_as_a_whole(text: bytes, reason: str) -> None:
    assert rows("csv", text) == [BadRow(1, reason)]
