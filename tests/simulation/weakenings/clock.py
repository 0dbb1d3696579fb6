"""The log clock as something else than the greatest instant that the log has shown so far."""

from __future__ import annotations

from penstock.aggregator import consume, fold
from penstock.aggregator.fold import Fold
from penstock.kernel.record import LogRecord
from simulation.scenario import Simulation
from simulation.weakenings.switch import Patch, Switches

switches = Switches()


@switches.weakening(seed=25)
def raw_append_clock(patch: Patch, _: Simulation) -> None:
    """One broker a year ahead expires every id and makes every event late."""
    patch.setattr(LogRecord, "clock_us", property(lambda record: record.appended_at_us))


@switches.weakening(seed=15)
def clock_that_goes_back(patch: Patch, _: Simulation) -> None:
    """The log clock is that of the last record, not the greatest so far."""
    for module in (fold, consume):
        patch.setattr(module, "max", lambda held, new: new, raising=False)


@switches.weakening(seed=14)
def clock_not_in_the_marker(patch: Patch, _: Simulation) -> None:
    """An owner that starts again has the clock of the next record."""
    patch.setattr(consume, "Fold", lambda *args, **named: Fold(*args, **(named | {"clock_us": 0})))
