"""`penstock quarantine list | show | replay`: the records that no fold could read, looked at, mended and sent again.

On Kafka it works beside running aggregators; the embedded log has one process at a time, so the server must be stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from penstock.aggregator.quarantine import Entry, Quarantine
from penstock.app.adapters import EMBEDDED, kafka_settings, open_log
from penstock.app.audit_command import say
from penstock.app.config import Config, from_environment
from penstock.kernel.clock import SystemClock
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.problems import Problem, Refused
from penstock.kernel.window import from_us, to_us
from penstock.log.embedded import EmbeddedLog
from penstock.log.kafka import KafkaLog

OK, FAILED, USAGE_ERROR = 0, 1, 2
TOPIC_SUFFIX, FILE = ".quarantine", "quarantine.db"
FOR_EVER = -1
PREVIEW_BYTES = 256

Ask = Callable[[Quarantine, argparse.Namespace, Config], Awaitable[int]]


def quarantine_log(config: Config) -> Callable[[], Awaitable[EventLog]]:
    """What opens the log of one partition that keeps records of this configuration's log."""

    async def opened() -> EventLog:
        if config.event_log == EMBEDDED:
            return EmbeddedLog.open(config.data_dir / FILE, 1)
        settings = kafka_settings(config)
        changed = {"topic": settings.topic + TOPIC_SUFFIX, "partitions": 1, "retention_ms": FOR_EVER}
        return await KafkaLog.open(msgspec.structs.replace(settings, **changed))

    return opened


def add_quarantine_command(commands: Any) -> None:
    """Add `quarantine` to an argument parser's sub-commands."""
    parser = commands.add_parser(
        "quarantine",
        help="list, show, mend and replay records of the log that could not be read",
        description="Records of the log that no aggregator could read, kept with their reason. A replay appends a "
        "mended record to the partition that it came from; whatever of it is counted already is a duplicate. With the "
        "embedded log the server must be stopped. Exit code 0, 1 where it was refused, 2 for a wrong option.",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="one line for each record")
    show = actions.add_parser("show", help="all that is known of one record")
    show.add_argument("--out", type=Path, metavar="FILE", help="write its bytes there, to be mended")
    replay = actions.add_parser("replay", help="append a record to the log again")
    replay.add_argument("--file", type=Path, metavar="FILE", help="a mended chunk, an Arrow stream (else as it was)")
    for each in (show, replay):
        each.add_argument("place", type=_place, metavar="PARTITION:OFFSET", help="where it was in the log")


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition(":")
    return int(partition), int(offset)


def quarantine(given: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        config = from_environment({}, "aggregator")
    except ValueError as exc:
        return _refused(str(exc), USAGE_ERROR)
    try:
        return asyncio.run(_run(given, config))
    except (Problem, Refused, OSError) as exc:
        return _refused(str(exc), FAILED)


async def _run(given: argparse.Namespace, config: Config) -> int:
    if config.event_log == EMBEDDED and not (config.data_dir / FILE).is_file():
        say(f"nothing was ever put into quarantine in {config.data_dir}")
        return OK if given.action == "list" else FAILED
    kept = Quarantine(quarantine_log(config))
    try:
        return await _ACTIONS[given.action](kept, given, config)
    finally:
        await kept.close()


async def _list(kept: Quarantine, _given: argparse.Namespace, _config: Config) -> int:
    for entry in await kept.entries():
        say(_line(entry))
    return OK


async def _show(kept: Quarantine, given: argparse.Namespace, _config: Config) -> int:
    entry = await kept.entry(*given.place)
    say(_line(entry))
    if given.out is not None:
        await asyncio.to_thread(given.out.write_bytes, entry.kept.payload)
    else:
        say(repr(entry.kept.payload[:PREVIEW_BYTES]))
    return OK


async def _replay(kept: Quarantine, given: argparse.Namespace, config: Config) -> int:
    log = await open_log(config)
    try:
        entry = await kept.entry(*given.place)
        payload = entry.kept.payload if given.file is None else await asyncio.to_thread(given.file.read_bytes)
        receipt = await kept.replay(entry, payload, log, to_us(SystemClock().now()))
    finally:
        await log.close()
    say(f"appended to partition {receipt.partition} at offset {receipt.offset}")
    return OK


_ACTIONS: dict[str, Ask] = {"list": _list, "show": _show, "replay": _replay}


def _line(entry: Entry) -> str:
    kept = entry.kept
    became = "" if entry.replayed_at is None else f", replayed at offset {entry.replayed_at}"
    at = from_us(kept.appended_at_us).isoformat()
    return f"{kept.partition}:{kept.offset}  {at}  {len(kept.payload):,} bytes  {kept.reason}{became}"


def _refused(why: str, code: int) -> int:
    sys.stderr.write(f"penstock quarantine: {why}\n")
    return code
