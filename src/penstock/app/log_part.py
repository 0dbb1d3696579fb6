"""The log in a process: whether it can be reached."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.app.adapters import EMBEDDED
from penstock.app.config import Config
from penstock.app.health import Check
from penstock.app.part import Part
from penstock.kernel.ports.event_log import EventLog


class LogPart(Part):
    """Only looks: the log lives from before the first part's start until after the last one's end."""

    def __init__(self, config: Config, log: EventLog) -> None:
        self._is_shared, self._log = config.event_log != EMBEDDED, log

    def checks(self) -> Sequence[Check]:
        return [Check("log", self._look)] if self._is_shared else []

    async def _look(self) -> None:
        """Every partition has a leader that answers."""
        for partition in range(self._log.identity.partitions):
            await self._log.bounds(partition)
