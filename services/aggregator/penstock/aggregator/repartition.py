"""Give a log another partition count: drain it, seal it, fold it to the seal, begin the log that follows it.

Each step may be cut anywhere and be done again, and whoever runs them all comes to the same end. What is stored of the
sealed log stays as it is, and its heirs read it there (`heritage.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from penstock.aggregator.consume import Owner
from penstock.kernel.cell import FILLED_US
from penstock.kernel.control import CARRIED_OVER, MetricDefined, decode_control
from penstock.kernel.ports.succession import SealableLog
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Refused
from penstock.kernel.record import LogIdentity

KEEP_ALL_US = 10**17  # a retention by which nothing is trimmed
# Holds the owner of a partition for a while: its files are let go of at the end.
Hold = Callable[[int], AbstractContextManager[Owner]]
# Told each step when it is done: drained, sealed, folded, filled, followed.
Step = Callable[[str], None]


class NotFolded(Refused):
    """A partition did not come to the end of its log."""


async def repartition(
    log: SealableLog, store: UsageStore, partitions: int, hold: Hold, now_us: int, step: Step
) -> None:
    """From its return on `log`, opened anew, is one of so many partitions. Run it again where it was cut short.

    Raise `Refused` for what cannot be, and whatever the log and the store raise. Until the first fold is through
    nothing is sealed: what could not be folded is told while the log still takes appends.
    """
    with ExitStack() as held:
        owners = [held.enter_context(hold(partition)) for partition in log.identity.own]
        await _fold(log, owners)
        step("drained")
        await log.seal(now_us, partitions)
        step("sealed")
        await _fold(log, owners)
        await _demand_sealed(log, owners)
        step("folded")
        controls = carried_over(store, log.identity)
        await asyncio.to_thread(_say_filled, store, range(log.identity.end, log.identity.end + partitions), controls)
        step("filled")
        await log.succeed(now_us, controls)
        step("followed")


async def _fold(log: SealableLog, owners: Sequence[Owner]) -> None:
    """All that the log holds now, and what is due to be filled. Others may append meanwhile, as fast as they like."""
    for owner in owners:
        _, end = await log.bounds(owner.partition)
        if not owner.restores:
            await owner.restore()
        while (owner.reached < end - 1 and await owner.step(0)) or await owner.fill():
            pass


async def _demand_sealed(log: SealableLog, owners: Sequence[Owner]) -> None:
    behind = [owner for owner in owners if not owner.is_sealed]
    if behind:
        ends = {owner: (await log.bounds(owner.partition))[1] - 1 for owner in behind}
        where = (f"partition {each.partition} at offset {each.offset} of {end}" for each, end in ends.items())
        raise NotFolded(f"not folded to the end: {', '.join(where)}")


def carried_over(store: UsageStore, log: LogIdentity) -> list[bytes]:
    """The control records that the partitions of the next log begin with: what every partition knows, in log order."""
    found: dict[str, bytes] = {}
    for partition in log.own:
        for _, payload in store.control_records(partition):
            control = decode_control(payload)
            if isinstance(control, CARRIED_OVER):
                found.setdefault(control.id, payload)
    return list(found.values())


def _say_filled(store: UsageStore, partitions: range, controls: Sequence[bytes]) -> None:
    """Nothing comes before their first control records, so that readers need not wait for a fill of nothing."""
    for control in map(decode_control, controls):
        if isinstance(control, MetricDefined):
            for partition in partitions:
                store.write_fill(partition, control.metric.id, {}, FILLED_US)
