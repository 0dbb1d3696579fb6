"""The rows of an NDJSON or CSV file as events. A bad row is told, by its line, and never stops the others."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import BinaryIO, NamedTuple

import msgspec

from penstock.client.event import EVENT_BYTES_MAX, Envelope

SUFFIXES = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}
EMPTY = msgspec.Raw(b"{}")
_TEXTS = ("transaction_id", "customer_id", "event_type", "timestamp")


class Row(NamedTuple):
    """An event's JSON text, and the line on which its row begins (NDJSON) or ends (CSV), from 1."""

    line: int
    event: bytes


class BadRow(NamedTuple):
    """Why the row on that line is no event."""

    line: int
    reason: str


class Defaults(msgspec.Struct, frozen=True):
    """What stands in for what a row lacks.

    An id is made as PREFIX:LINE of `transaction_prefix`, so that sending the same file again repeats its ids.
    """

    customer_id: str | None = None
    event_type: str | None = None
    transaction_prefix: str | None = None

    def complete(self, row: _Fields, line: int) -> bytes:
        """The event of a row that lacks something. Raise `ValueError` naming what is still missing."""
        made_id = None if self.transaction_prefix is None else f"{self.transaction_prefix}:{line}"
        return _ENCODER.encode(
            Envelope(
                _first("transaction_id", row.transaction_id, made_id),
                _first("customer_id", row.customer_id, self.customer_id),
                _first("event_type", row.event_type, self.event_type),
                _first("timestamp", row.timestamp, None),
                row.properties,
            )
        )


class _Fields(msgspec.Struct, gc=False):
    transaction_id: str | None = None
    customer_id: str | None = None
    event_type: str | None = None
    timestamp: str | None = None
    properties: msgspec.Raw = EMPTY


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Fields)
Rows = Callable[[BinaryIO, Defaults], Iterator[Row | BadRow]]


def format_of(path: PurePath) -> str | None:
    """`ndjson` or `csv` by the file's suffix, or None where it tells neither."""
    return SUFFIXES.get(path.suffix.lower())


def ndjson_rows(file: BinaryIO, defaults: Defaults) -> Iterator[Row | BadRow]:
    """A row that has all four texts is passed on as it stands; empty lines are skipped."""
    number = 0
    while line := file.readline(EVENT_BYTES_MAX + 1):
        number += 1
        if len(line) > EVENT_BYTES_MAX:
            _skip_line(file, line)
            yield BadRow(number, f"the line has more than {EVENT_BYTES_MAX} bytes; NDJSON is one object a line")
            continue
        text = line.removeprefix(codecs.BOM_UTF8).strip() if number == 1 else line.strip()
        if not text:
            continue
        try:
            row = _DECODER.decode(text)
            is_whole = row.transaction_id and row.customer_id and row.event_type and row.timestamp
            yield Row(number, text if is_whole else defaults.complete(row, number))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as exc:
            yield BadRow(number, str(exc))


def csv_rows(file: BinaryIO, defaults: Defaults) -> Iterator[Row | BadRow]:
    """The first row names the columns. Every column that is not one of the four texts is a property, as text.

    A cell's text is sent exactly as it is written, so a number keeps its digits; an empty cell is no property.
    """
    # What is no UTF-8 becomes lone surrogates, which the encoder below refuses row by row.
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    try:
        try:
            header = next(reader, [])
            _check_header(header, defaults)
        except (csv.Error, ValueError) as exc:
            yield BadRow(1, str(exc))
            return
        cells: list[str] | None = []
        while cells is not None:
            try:
                if cells := next(reader, None):
                    yield Row(reader.line_num, _csv_event(header, cells, reader.line_num, defaults))
            except UnicodeEncodeError:
                yield BadRow(reader.line_num, "the row is not UTF-8")
            except (csv.Error, ValueError) as exc:
                yield BadRow(reader.line_num, str(exc))
    finally:
        text.detach()  # the file stays its owner's to close


def _csv_event(header: list[str], cells: list[str], line: int, defaults: Defaults) -> bytes:
    if len(cells) != len(header):
        raise ValueError(f"the row has {len(cells)} cells, the header {len(header)}")
    named = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    texts = {name: named.pop(name, None) for name in _TEXTS}
    return defaults.complete(_Fields(**texts, properties=msgspec.Raw(_ENCODER.encode(named))), line)


FORMATS: dict[str, Rows] = {"ndjson": ndjson_rows, "csv": csv_rows}


def _check_header(header: list[str], defaults: Defaults) -> None:
    doubled = [name for name in header if header.count(name) > 1]
    if doubled:
        raise ValueError(f"the header names the column {doubled[0]!r} twice")
    given = (defaults.transaction_prefix, defaults.customer_id, defaults.event_type, None)
    for name, default in zip(_TEXTS, given, strict=True):
        if name not in header and default is None:
            raise ValueError(f"the file has no column {name}")


def _first(name: str, *texts: str | None) -> str:
    for text in texts:
        if text:
            return text
    raise ValueError(f"the row has no {name}")


def _skip_line(file: BinaryIO, piece: bytes) -> None:
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(EVENT_BYTES_MAX)
