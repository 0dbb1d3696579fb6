"""`penstock backtest`: what a running server's whole book would have cost by a draft, contract for contract."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from penstock.app.audit_command import instant_of
from penstock.app.backtest_files import as_csv, as_json
from penstock.app.backtest_page import page
from penstock.app.backtest_result import Page, Result, Row, shown
from penstock.app.config import variable
from penstock.app.progress import StatusLine, bar
from penstock.client.answer import NotAcknowledged, Reply
from penstock.client.connection import Connection, Server
from penstock.kernel.problems import BadRequest

DONE, NO_ANSWER, REFUSED = 0, 1, 2
DEFAULT_URL = "http://127.0.0.1:8600"
TIMEOUT_MS = 600_000
CONTRACTS_A_PAGE = 500
PATH = "/v1/contracts/backtest"


class _Problem(msgspec.Struct):
    detail: str = ""
    field: str | None = None


class _Refused(Exception):
    """What was asked for cannot be; the text names the field."""


def add_backtest_command(commands: Any) -> None:
    """Add `backtest` to an argument parser's sub-commands."""
    parser = commands.add_parser(
        "backtest",
        help="price the whole book's past usage by a draft card",
        description="Have a running server price past usage of every contract by another card, other rates or other "
        "overrides, and tell old, new and difference by contract and billing period. Periods that begin between --from "
        "and --to count, whole. Nothing is changed. Exit code 0, 1 if there is no answer, 2 for what is refused by "
        "name. An instant is RFC 3339, or a date of UTC.",
    )
    draft = parser.add_mutually_exclusive_group(required=True)
    draft.add_argument("--card", metavar="ID", help="the rate card that is tried")
    draft.add_argument("--draft", type=Path, metavar="FILE", help="JSON with rate_card_id, rates, add_overrides")
    parser.add_argument("--against", metavar="ID", help="only contracts on this rate card (default: all)")
    parser.add_argument("--from", dest="start", required=True, metavar="INSTANT", help="where the time starts")
    parser.add_argument("--to", dest="end", required=True, metavar="INSTANT", help="where it ends, exclusive")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a line for each contract and period there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a page with charts (HTML) there")
    parser.add_argument("--url", help=f"the server's address (PENSTOCK_URL, default {DEFAULT_URL})")
    parser.add_argument("--api-key", help="a key with the scope read (PENSTOCK_API_KEY)")


def backtest(given: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        body = _body(given)
        server = _server(given)
        _look_at_folders(given)
    except (_Refused, ValueError, OSError) as exc:
        return _tell(str(exc), REFUSED)
    connection = Connection(server)
    try:
        result = Result(body, _rows(connection, body, StatusLine(sys.stderr)))
    except _Refused as exc:
        return _tell(str(exc), REFUSED)
    except NotAcknowledged as exc:
        return _tell(str(exc), NO_ANSWER)
    finally:
        connection.close()
    for file, write in ((given.json, as_json), (given.csv, as_csv), (given.plot, page)):
        if file is not None:
            file.write_text(write(result), encoding="utf-8", newline="")
    sys.stdout.write("\n".join([*shown(result), *_written(given)]) + "\n")
    return DONE


def _body(given: argparse.Namespace) -> dict[str, Any]:
    """Raise `_Refused` naming the option."""
    try:
        start, end = instant_of(given.start, "--from"), instant_of(given.end, "--to")
    except BadRequest as exc:
        raise _Refused(exc.detail) from exc
    if start >= end:
        raise _Refused("--to must be after --from")
    body: dict[str, Any] = {"rate_card_id": given.card}
    if given.draft is not None:
        try:
            body = msgspec.json.decode(given.draft.read_bytes(), type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as exc:
            raise _Refused(f"--draft {given.draft}: {exc}") from exc
    if given.against is not None:
        body["only_rate_card_id"] = given.against
    return body | {"starting_on": start, "ending_before": end}


def _server(given: argparse.Namespace) -> Server:
    api_key = given.api_key or variable("API_KEY")
    if not api_key:
        raise _Refused("no API key: set PENSTOCK_API_KEY, or give --api-key")
    return Server.at(given.url or variable("URL") or DEFAULT_URL, api_key, TIMEOUT_MS)


def _look_at_folders(given: argparse.Namespace) -> None:
    """So that minutes of work are not lost to a name mistyped."""
    for option in ("json", "csv", "plot"):
        file = getattr(given, option)
        if file is not None and not file.parent.is_dir():
            raise _Refused(f"--{option}: there is no folder {file.parent}")


def _rows(connection: Connection, body: dict[str, Any], line: StatusLine) -> tuple[Row, ...]:
    """Every row of the book. Raise `_Refused` or `NotAcknowledged`."""
    rows: list[Row] = []
    done = 0
    total: int | None = None
    for answered in _pages(connection, msgspec.json.encode(body)):
        rows += answered.data
        done, total = done + answered.contracts_on_page, total or answered.contracts
        if line.is_due():
            line.write(f"{bar(done, total or done)}  {done:,} of {total or done:,} contracts")
    line.clear()
    return tuple(rows)


def _pages(connection: Connection, body: bytes) -> Iterator[Page]:
    cursor: str | None = ""
    while cursor is not None:
        path = f"{PATH}?limit={CONTRACTS_A_PAGE}" + (f"&next_page={cursor}" if cursor else "")
        answered = _page(connection.request("POST", path, body))
        yield answered
        cursor = answered.next_page


def _page(reply: Reply) -> Page:
    try:
        if reply.status == 200:
            return msgspec.json.decode(reply.body, type=Page)
        problem = msgspec.json.decode(reply.body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise NotAcknowledged(f"the answer, of status {reply.status}, is not from a Penstock server") from exc
    if 400 <= reply.status < 500:
        raise _Refused(problem.detail if problem.field is None else f"{problem.field}: {problem.detail}")
    raise NotAcknowledged(f"the server answered {reply.status}: {problem.detail}")


def _written(given: argparse.Namespace) -> Iterator[str]:
    return (f"written to {file}" for file in (given.json, given.csv, given.plot) if file is not None)


def _tell(why: str, code: int) -> int:
    sys.stderr.write(f"penstock backtest: {' '.join(why.split())}\n")
    return code
