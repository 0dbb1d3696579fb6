"""`penstock rebuild --partition N`: a stopped server's cells again, from its log or its stored events, and compared."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from penstock.aggregator.audit_api import DIFFERENCES_SHOWN_MAX, difference_view
from penstock.aggregator.auditor import Findings
from penstock.aggregator.rebuild import from_events, from_log, swap
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.app.audit_command import line_of, say, summary
from penstock.app.config import from_environment
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Problem, Refused
from penstock.log.embedded import EmbeddedLog

ADDS_UP, DIFFERS, USAGE_ERROR = 0, 1, 2


def add_rebuild_command(commands: Any) -> None:
    """Add `rebuild` to an argument parser's sub-commands."""
    parser = commands.add_parser(
        "rebuild",
        help="rebuild a partition's cells beside the live ones and compare; the server must be stopped",
        description="Rebuild the cells of one partition of a stopped server's data folder beside the live ones, and "
        "tell what differs. With --swap, write what was rebuilt over what differs; nothing is deleted. Exit code 0 if "
        "all adds up (after the swap, where one was asked for), 1 if not or if it was refused, 2 for a wrong option.",
    )
    parser.add_argument("--partition", type=int, required=True, metavar="N", help="the partition")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--from-log", action="store_true", help="fold the log again from its first record (default)")
    source.add_argument("--from-events", action="store_true", help="count stored events again")
    parser.add_argument("--swap", action="store_true", help="write what was rebuilt over what differs")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="the server's folder (PENSTOCK_DATA_DIR)")
    parser.add_argument("--partitions", type=int, metavar="N", help="of the log (PENSTOCK_PARTITIONS)")


def rebuild(given: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        config = from_environment({"data_dir": given.data_dir, "partitions": given.partitions})
    except ValueError as exc:
        return _refused(str(exc), USAGE_ERROR)
    if not (config.data_dir / "log.db").is_file():
        return _refused(f"no Penstock data in {config.data_dir}")
    if not 0 <= given.partition < config.partitions:
        return _refused(f"there are partitions 0 to {config.partitions - 1}", USAGE_ERROR)
    try:
        return asyncio.run(_rebuild(given, config.data_dir, config.partitions))
    except (Problem, Refused, OSError) as exc:
        return _refused(str(exc))


async def _rebuild(given: argparse.Namespace, folder: Path, partitions: int) -> int:
    # The log first: its lock says whether the server is stopped.
    log = EmbeddedLog.open(folder / "log.db", partitions)
    try:
        with closing(ClickHouseUsageStore.embedded(folder / "usage")) as store:
            found = await _compared(given, store, log)
            if not given.swap or not found.differences:
                return DIFFERS if found.differences else ADDS_UP
            written = swap(store, given.partition, found.differences)
            say(f"{written:,} cells written; compared again:")
            return DIFFERS if (await _compared(given, store, log)).differences else ADDS_UP
    finally:
        await log.close()


async def _compared(given: argparse.Namespace, store: UsageStore, log: EventLog) -> Findings:
    if given.from_events:
        found = from_events(store, given.partition)
    else:
        found = await from_log(store, log, given.partition)
    shown = found.differences[:DIFFERENCES_SHOWN_MAX]
    for difference in shown:
        say(line_of(difference_view(difference)))
    say(summary(found.cells, len(found.differences), found.events, len(shown)))
    return found


def _refused(why: str, code: int = DIFFERS) -> int:
    sys.stderr.write(f"penstock rebuild: {why}\n")
    return code
