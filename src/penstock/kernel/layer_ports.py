"""The seam of backfills: what the aggregator, which owns them, answers to a gateway that takes their events."""

from __future__ import annotations

from typing import Protocol

from penstock.kernel.layer import Layer


class OpenLayers(Protocol):
    """Which backfills take events."""

    def open_layer(self, tenant: str, backfill_id: str) -> Layer:
        """The layer of a backfill that is open, with every partition knowing it.

        Raise `NotFound`, `Conflict` for one that takes no events any more, `LogUnavailable` while it is being opened.
        """
        ...
