"""`penstock repartition --partitions N`: end the log and begin another one, of another partition count.

The embedded log has one process at a time, so the server must be stopped. On Kafka the seal ends the appends of whoever
still runs, and what they were refused they send again when they are started on the new log.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from penstock.aggregator.consume import Owner
from penstock.aggregator.quarantine import Quarantine
from penstock.aggregator.repartition import KEEP_ALL_US, Step, repartition
from penstock.app.adapters import EMBEDDED, LOG_FILE, crash_step, kafka_settings, open_store
from penstock.app.audit_command import say
from penstock.app.config import Config, from_environment
from penstock.app.quarantine_command import quarantine_log
from penstock.ids.shelf import Shelf
from penstock.kernel.clock import SystemClock
from penstock.kernel.ports.succession import SealableLog
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Problem, Refused
from penstock.kernel.window import to_us
from penstock.log.embedded import EmbeddedLog
from penstock.log.kafka import KafkaLog

OK, REFUSED, USAGE_ERROR = 0, 1, 2
_SAID = {
    "drained": "folded all that the log holds",
    "sealed": "sealed the log: it takes no more",
    "folded": "folded to the seal",
    "filled": "nothing is left to be filled in the new partitions",
    "followed": "begun the log that follows",
}


def add_repartition_command(commands: Any) -> None:
    """Add `repartition` to an argument parser's sub-commands."""
    parser = commands.add_parser(
        "repartition",
        help="end the log and begin another one, of another partition count",
        description="Fold the log to its end, seal it, and begin a log of N partitions that follows it. What was "
        "counted stays, and a copy of an old event is still a duplicate. With the embedded log the server must be "
        "stopped. Where it was cut short, run it again. Exit code 0, 1 where it was refused, 2 for a wrong option.",
    )
    parser.add_argument("--partitions", type=int, required=True, metavar="N", help="of the new log, from 1 to 64")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="the server's folder (PENSTOCK_DATA_DIR)")


def repartition_command(given: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        config = from_environment({"data_dir": given.data_dir, "partitions": given.partitions}, "aggregator")
    except ValueError as exc:
        return _refused(str(exc), USAGE_ERROR)
    if config.event_log == EMBEDDED and not (config.data_dir / LOG_FILE).is_file():
        return _refused(f"no Penstock data in {config.data_dir}", REFUSED)
    try:
        asyncio.run(_run(config))
    except (Problem, Refused, OSError) as exc:
        return _refused(str(exc), REFUSED)
    return OK


async def _run(config: Config) -> None:
    log = await _opened(config)
    try:
        if log.sealed_for is None and log.identity.partitions == config.partitions:
            say(f"the log has {config.partitions} partitions")
        else:
            with closing(await open_store(config)) as store:
                await _repartition(config, log, store)
    finally:
        await log.close()
    await _forget_sealed(config)
    say(f"set PENSTOCK_PARTITIONS={config.partitions} and start")


async def _opened(config: Config) -> EmbeddedLog | KafkaLog:
    """The newest log, however many partitions it has."""
    if config.event_log == EMBEDDED:
        return EmbeddedLog.open(config.data_dir / LOG_FILE, None)
    return await KafkaLog.open_to_seal(kafka_settings(config))


async def _repartition(config: Config, log: SealableLog, store: UsageStore) -> None:
    say(f"the log has {log.identity.partitions} partitions and is to have {config.partitions}")
    quarantine = Quarantine(quarantine_log(config))
    memory_ids_max = config.memory_ids_max // log.identity.partitions

    @contextmanager
    def hold(partition: int) -> Iterator[Owner]:
        folder = config.data_dir / "ids" / str(partition)
        with closing(Shelf(folder, partition, log.identity.log_id, memory_ids_max)) as shelf:
            yield Owner(partition, log, store, KEEP_ALL_US, shelf, quarantine)

    try:
        await repartition(log, store, config.partitions, hold, to_us(SystemClock().now()), _step(config))
    finally:
        await quarantine.close()


def _step(config: Config) -> Step:
    crash = crash_step(config.crash_at)

    def done(name: str) -> None:
        say(_SAID[name])
        sys.stdout.flush()
        if crash is not None:
            crash(name)

    return done


async def _forget_sealed(config: Config) -> None:
    """The embedded log gives back the room of records that nobody reads any more; a sealed topic is the operator's."""
    if config.event_log != EMBEDDED:
        return
    log = EmbeddedLog.open(config.data_dir / LOG_FILE, None)
    try:
        for partition in range(log.identity.first):
            await log.trim(partition, (await log.bounds(partition))[1])
    finally:
        await log.close()


def _refused(why: str, code: int) -> int:
    sys.stderr.write(f"penstock repartition: {why}\n")
    return code
