"""The rates of cards as this process has read them. A rate never changes, so that only those added since are read.

Sequences become visible in the order in which they are given, so that what is behind the last one read is all there is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import msgspec

from penstock.rater.definitions import Rate

RATES_MAX = 50_000


class Shelved(msgspec.Struct, frozen=True):
    """A rate with its place in the catalog, which is a cursor and breaks ties of `starting_at`."""

    sequence: int
    rate: Rate


class RateCache:
    """`read(tenant, rate_card_id, after)` answers the card's rates behind a sequence, in order.

    The cards last asked for stay, as many as have no more than `rates_max` rates together; one card always does.
    """

    def __init__(self, read: Callable[[str, str, int], Sequence[Shelved]], rates_max: int = RATES_MAX) -> None:
        self._read = read
        self._rates_max = rates_max
        self._guard = Lock()
        self._cards: OrderedDict[tuple[str, str], tuple[Shelved, ...]] = OrderedDict()

    def rates(self, tenant: str, rate_card_id: str) -> tuple[Shelved, ...]:
        """Every rate of the card, in the order in which they were added."""
        key = (tenant, rate_card_id)
        with self._guard:
            known = self._cards.get(key, ())
        found = (*known, *self._read(tenant, rate_card_id, known[-1].sequence if known else 0))
        with self._guard:
            if len(found) >= len(self._cards.get(key, ())):  # another thread may have read more meanwhile
                self._cards[key] = found
            self._cards.move_to_end(key)
            held = sum(map(len, self._cards.values()))
            while held > self._rates_max and len(self._cards) > 1:
                held -= len(self._cards.popitem(last=False)[1])
        return found
