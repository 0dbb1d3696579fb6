"""`penstock send FILE|-`: the events of an NDJSON or CSV file, each answered by the server before the command ends."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import msgspec

from penstock.app.config import variable
from penstock.app.progress import Progress, figures
from penstock.client.client import Client
from penstock.client.errors import BadEvent, ClientError, QueueFull
from penstock.client.files import FORMATS, BadRow, Defaults, Row, Rows, format_of
from penstock.client.tally import Refusal

ALL_COUNTED, NOT_ALL, USAGE_ERROR = 0, 1, 2
DEFAULT_URL = "http://127.0.0.1:8600"
PREFIX_CHARS_MAX = 100  # of the 128 that a transaction id may have
COMPLAINTS_SHOWN_MAX = 100
FULL_PAUSE_S = 0.01
FLUSH_STEP_S = 0.1


def add_send_command(commands: Any) -> None:
    """Add `send` to an argument parser's sub-commands."""
    parser = commands.add_parser(
        "send",
        help="send the events of a file to a server",
        description="Send the events of an NDJSON or CSV file. Sending a file again is harmless: what was accepted is "
        "not counted twice. Exit code 0 if every row was answered and counted, 1 if not, 2 for a wrong option.",
    )
    parser.add_argument("file", metavar="FILE|-", help="the file, or - for the standard input")
    parser.add_argument("--url", help=f"the server's address (PENSTOCK_URL, default {DEFAULT_URL})")
    parser.add_argument("--api-key", help="a key with the scope ingest (PENSTOCK_API_KEY)")
    parser.add_argument("--format", choices=sorted(FORMATS), help="default: by the suffix; ndjson for -")
    parser.add_argument("--customer-id", metavar="ID", help="for rows without customer_id")
    parser.add_argument("--event-type", metavar="TYPE", help="for rows without event_type")
    parser.add_argument(
        "--transaction-prefix",
        metavar="PREFIX",
        help="rows without transaction_id get PREFIX:LINE (default: the file's name; none for -)",
    )
    parser.add_argument("--spool", type=Path, metavar="DIR", help="keep events on disk until they are answered")
    parser.add_argument("--batch-events", type=int, default=1_000, metavar="N", help="events per request")
    parser.add_argument("--connections", type=int, default=2, metavar="N", help="requests under way at once")
    parser.add_argument(
        "--give-up-s", type=int, default=900, metavar="S", help="seconds without an answer to give up after (900)"
    )


class _Plan(msgspec.Struct, frozen=True):
    """What the options say."""

    path: Path | None  # None: the standard input
    rows: Rows
    defaults: Defaults
    url: str
    api_key: str
    given: argparse.Namespace

    @property
    def name(self) -> str:
        return "-" if self.path is None else str(self.path)

    def client(self, on_refused: Any) -> Client:
        return Client(
            self.url,
            self.api_key,
            spool=self.given.spool,
            when_full="raise",
            batch_events_max=self.given.batch_events,
            connections=self.given.connections,
            on_refused=on_refused,
        )


def send(given: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    refusals: SimpleQueue[Refusal] = SimpleQueue()
    with contextlib.ExitStack() as stack:
        try:
            plan = _plan(given)
            file = sys.stdin.buffer if plan.path is None else stack.enter_context(plan.path.open("rb"))
            size = None if plan.path is None else plan.path.stat().st_size
            client = plan.client(refusals.put)
        except (ValueError, OSError, ClientError) as exc:
            sys.stderr.write(f"penstock send: {exc}\n")
            return NOT_ALL if isinstance(exc, ClientError) else USAGE_ERROR
        sending = _Sending(client, plan.name, refusals, Progress(sys.stderr, size or None), given.give_up_s)
        return sending.run(plan.rows(file, plan.defaults), file if size else None)


def _plan(given: argparse.Namespace) -> _Plan:
    """Raise `ValueError` for what does not fit together."""
    path = None if given.file == "-" else Path(given.file)
    form = given.format or ("ndjson" if path is None else format_of(path))
    if form is None:
        raise ValueError(f"{path}: the suffix tells no format; give --format ndjson or --format csv")
    api_key = given.api_key or variable("API_KEY")
    if not api_key:
        raise ValueError("no API key: set PENSTOCK_API_KEY, or give --api-key")
    prefix = given.transaction_prefix or (None if path is None else path.name)
    if prefix is not None and len(prefix) > PREFIX_CHARS_MAX:
        raise ValueError(f"the transaction prefix has {len(prefix)} characters, at most {PREFIX_CHARS_MAX}")
    defaults = Defaults(given.customer_id, given.event_type, prefix)
    return _Plan(path, FORMATS[form], defaults, given.url or variable("URL") or DEFAULT_URL, api_key, given)


class _GivenUp(Exception):
    pass


class _Sending:
    """One run over the rows: sends them, shows how far it is, and tells of every row that was not counted."""

    def __init__(
        self, client: Client, name: str, refusals: SimpleQueue[Refusal], progress: Progress, give_up_s: int
    ) -> None:
        self._client, self._name, self._refusals, self._progress = client, name, refusals, progress
        self._give_up_s = give_up_s
        self._file: BinaryIO | None = None
        self._lines = _Lines()
        self._bad_rows = self._complaints = self._answered = 0
        self._started_s = self._answered_at_s = time.monotonic()

    def run(self, rows: Iterator[Row | BadRow], file: BinaryIO | None) -> int:
        self._file = file
        trouble: str | None = None
        try:
            for row in rows:
                self._take(row)
                self._look_after()
            while not self._client.flush(FLUSH_STEP_S):
                self._look_after()
        except KeyboardInterrupt:
            trouble = "interrupted"
        except _GivenUp:
            trouble = f"no answer for {self._give_up_s} s"
        except (ClientError, OSError) as exc:
            trouble = str(exc)
        with contextlib.suppress(ClientError):  # what it would say is counted below
            self._client.close(0)
        return self._conclude(trouble)

    def _take(self, row: Row | BadRow) -> None:
        if isinstance(row, BadRow):
            self._bad_rows += 1
            self._complain(row.line, row.reason)
            return
        try:
            self._lines.add(self._put(row.event), row.line)
        except BadEvent as exc:
            self._take(BadRow(row.line, str(exc)))

    def _put(self, event: bytes) -> int:
        while True:
            try:
                return self._client.send_json(event)
            except QueueFull:
                if not self._client.stats.pending:
                    raise  # nothing is on its way that could make room: the spool's disk is full
                self._look_after()
                time.sleep(FULL_PAUSE_S)

    def _look_after(self) -> None:
        """Whatever is due beside sending. Raise `_GivenUp` where the server has not answered for too long."""
        if not self._progress.is_due():
            return
        self._tell_refusals()
        stats = self._client.stats
        answered = stats.sent + stats.recovered - stats.pending
        if answered != self._answered or not stats.pending:
            self._answered, self._answered_at_s = answered, time.monotonic()
        elif time.monotonic() > self._answered_at_s + self._give_up_s:
            raise _GivenUp
        self._progress.show(stats, None if self._file is None else self._file.tell())

    def _tell_refusals(self) -> None:
        while not self._refusals.empty():
            refusal = self._refusals.get()
            line = self._lines.line_of(refusal.number)
            self._complain(line, f"{refusal.verdict}: {refusal.reason} (transaction_id {refusal.transaction_id})")

    def _complain(self, line: int | None, reason: str) -> None:
        self._complaints += 1
        if self._complaints <= COMPLAINTS_SHOWN_MAX:
            place = f"{self._name}:{line}" if line is not None else "an event of an earlier run"
            self._progress.say(f"{place}: {reason}")

    def _conclude(self, trouble: str | None) -> int:
        self._tell_refusals()
        self._progress.clear()
        if self._complaints > COMPLAINTS_SHOWN_MAX:
            self._progress.say(f"... and {self._complaints - COMPLAINTS_SHOWN_MAX:,} more rows that were not counted")
        stats = self._client.stats
        answered = stats.sent + stats.recovered - stats.pending
        elapsed_s = max(time.monotonic() - self._started_s, 0.001)
        sys.stdout.write(
            f"{answered:,} events answered in {elapsed_s:.1f} s ({int(answered / elapsed_s):,}/s): {figures(stats)}; "
            f"bad rows {self._bad_rows:,}\n"
        )
        if trouble is not None:
            fate = "were not acknowledged; send the file again"
            if self._client.is_spooled:
                fate = "stay in the spool; send the file again for the rest"
            self._progress.say(f"penstock send: {trouble}; {stats.pending:,} events {fate}")
            return NOT_ALL
        return NOT_ALL if stats.rejected or stats.conflicts or self._bad_rows else ALL_COUNTED


class _Lines:
    """Which line an event came from. Only where numbers and lines fall out of step is anything kept."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._steps: list[int] = []  # line minus number, from that number on

    def add(self, number: int, line: int) -> None:
        if not self._steps or self._steps[-1] != line - number:
            self._numbers.append(number)
            self._steps.append(line - number)

    def line_of(self, number: int) -> int | None:
        """None for an event that was not added: it comes from an earlier run's spool."""
        place = bisect_right(self._numbers, number) - 1
        return None if place < 0 else number + self._steps[place]
