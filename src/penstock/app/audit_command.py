"""`penstock audit --from --to`: have a running server recompute cells from stored events, and tell what differs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec

from penstock.aggregator.audit_api import AuditView, DifferenceView, Figure
from penstock.app.config import variable
from penstock.client.answer import NotAcknowledged
from penstock.client.connection import Connection, Server
from penstock.kernel.problems import BadRequest
from penstock.web.instant import parse_instant

ADDS_UP, DIFFERS, USAGE_ERROR = 0, 1, 2
DEFAULT_URL = "http://127.0.0.1:8600"
TIMEOUT_MS = 600_000

T = TypeVar("T")


class _Data(msgspec.Struct, Generic[T]):
    data: T


class _Problem(msgspec.Struct):
    detail: str = ""


def add_audit_command(commands: Any) -> None:
    """Add `audit` to an argument parser's sub-commands."""
    parser = commands.add_parser(
        "audit",
        help="recompute usage from stored events and tell what differs",
        description="Have a running server count the stored events of a span again, and compare every cell with what "
        "is stored, to the last digit. Exit code 0 if all adds up, 1 if not or if there is no answer, 2 for a wrong "
        "option. An instant is RFC 3339, or a date of UTC.",
    )
    parser.add_argument("--from", dest="start", required=True, metavar="INSTANT", help="where the span starts")
    parser.add_argument("--to", dest="end", required=True, metavar="INSTANT", help="where it ends, exclusive")
    parser.add_argument("--metric", metavar="ID", help="this billable metric only (default: all of the tenant's)")
    parser.add_argument("--customer", metavar="ID", help="this customer, by id, alias or key of its events, only")
    parser.add_argument("--url", help=f"the server's address (PENSTOCK_URL, default {DEFAULT_URL})")
    parser.add_argument("--api-key", help="a key with the scope admin (PENSTOCK_API_KEY)")


def audit(given: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        start, end = instant_of(given.start, "--from"), instant_of(given.end, "--to")
        if start >= end:
            raise ValueError("--to must be after --from")
        api_key = given.api_key or variable("API_KEY")
        if not api_key:
            raise ValueError("no API key: set PENSTOCK_API_KEY, or give --api-key")
        server = Server.at(given.url or variable("URL") or DEFAULT_URL, api_key, TIMEOUT_MS)
    except (ValueError, BadRequest) as exc:
        sys.stderr.write(f"penstock audit: {exc}\n")
        return USAGE_ERROR
    connection = Connection(server)
    try:
        return _tell(_views(connection, start, end, given))
    except NotAcknowledged as exc:
        sys.stderr.write(f"penstock audit: {exc}\n")
        return DIFFERS
    finally:
        connection.close()


def _views(connection: Connection, start: datetime, end: datetime, given: argparse.Namespace) -> Iterator[AuditView]:
    """The audit day by day, so that no request is long. Raise `NotAcknowledged` for whatever is no answer."""
    while start < end:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        stop = min(midnight, end)
        body = {"starting_on": start, "ending_before": stop}
        body |= {"billable_metric_id": given.metric, "customer_id": given.customer}
        reply = connection.request("POST", "/v1/audit", msgspec.json.encode(body))
        try:
            if reply.status != 200:
                problem = msgspec.json.decode(reply.body, type=_Problem)
                raise NotAcknowledged(f"the server answered {reply.status}: {problem.detail}")
            yield msgspec.json.decode(reply.body, type=_Data[AuditView]).data
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise NotAcknowledged(f"the answer, of status {reply.status}, is not from a Penstock server") from exc
        start = stop


def _tell(views: Iterator[AuditView]) -> int:
    cells = differing = events = shown = 0
    for view in views:
        cells += view.cells
        differing += view.differing_cells
        events += view.error_events
        shown += len(view.differences)
        for difference in view.differences:
            say(line_of(difference))
    say(summary(cells, differing, events, shown))
    return DIFFERS if differing else ADDS_UP


def summary(cells: int, differing: int, events: int, shown: int) -> str:
    """The last line of an audit or a rebuild."""
    if not differing:
        return f"{cells:,} cells audited, all add up"
    hidden = f" ({differing - shown:,} of them not shown)" if differing > shown else ""
    return f"{cells:,} cells audited, {differing:,} differ by {events:,} events{hidden}"


def line_of(difference: DifferenceView) -> str:
    """A cell that differs, in one line."""
    groups = ", ".join("(none)" if group is None else group for group in difference.groups)
    where = [
        f"tenant {difference.tenant}",
        f"metric {difference.billable_metric_id}" if difference.billable_metric_id else "what became of events",
        *([f"customer {difference.customer_id}"] if difference.customer_id else []),
        difference.starting_on.isoformat(),
        *([f"group {groups}"] if groups else []),
        *([f"value {difference.member}"] if difference.member is not None else []),
        f"partition {difference.partition} as of {difference.as_of}",
    ]
    return f"DIFFERS {', '.join(where)}: stored {_shown(difference.stored)}, recomputed {_shown(difference.recomputed)}"


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "nothing"
    return f"{figure.events} events" + (f" of {figure.value}" if figure.value else "")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def instant_of(text: str, option: str) -> datetime:
    """An RFC 3339 instant, or a date of UTC. Raise `BadRequest` naming the option."""
    return parse_instant(f"{text}T00:00:00Z" if len(text) == len("2026-01-01") else text, option)
