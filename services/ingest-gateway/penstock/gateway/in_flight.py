"""The appends that are under way: several at a time, and never two with an id in common.

While one batch is made durable the next is judged. A copy of what is in flight cannot be: whether it is a duplicate is
known when the first one is durable, so its batch waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import numpy as np
import numpy.typing as npt

from penstock.kernel.identity import Identities

# Half an identity. Two ids that share it by chance wait for each other, once in a few thousand years.
Halves = npt.NDArray[np.uint64]


class InFlight:
    """Appends by the ids that they carry. `clear_for`, then `begin` without a pause in between."""

    def __init__(self, appends_max: int) -> None:
        self._appends_max = appends_max
        self._appends: dict[asyncio.Task[None], Halves] = {}

    async def clear_for(self, identities: Identities) -> None:
        """Wait until there is room for one more append, and none under way carries one of these ids."""
        while len(self._appends) >= self._appends_max:
            await asyncio.wait(self._appends, return_when=asyncio.FIRST_COMPLETED)
        halves = identities[:, 0]
        met = [append for append, carried in self._appends.items() if _meet(carried, halves)]
        if met:
            await asyncio.wait(met)

    def begin(self, identities: Identities, append: Coroutine[None, None, None]) -> None:
        """Let `append` run. It raises nothing."""
        task = asyncio.create_task(append)
        self._appends[task] = np.sort(identities[:, 0])
        task.add_done_callback(self._appends.pop)

    async def landed(self) -> None:
        """Wait for all that are under way."""
        if self._appends:
            await asyncio.wait(self._appends)


def _meet(carried: Halves, asked: Halves) -> bool:
    """Whether any of `asked` is in `carried`, which is sorted and not empty."""
    places = np.searchsorted(carried, asked)
    return bool((carried[np.minimum(places, len(carried) - 1)] == asked).any())
