"""When each rate of a card is in force, as later ones take the place of earlier ones and give it back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from penstock.rater.definitions import Rate
from penstock.rater.rate_card import rate_in_force, rates_by_key


class Stretch(msgspec.Struct, frozen=True):
    """A rate is in force in [start, end) (end None = open). A rate that gave way for a while has several."""

    rate: Rate
    start: datetime
    end: datetime | None

    def meets(self, start: datetime, end: datetime | None) -> bool:
        """Whether some of it is in [start, end)."""
        return (self.end is None or start < self.end) and (end is None or self.start < end)


def schedule(rates: Iterable[Rate]) -> list[Stretch]:
    """Every stretch, by product and group values in the order in which they were first priced, then by time.

    `rates` come in the order in which they were added.
    """
    return [stretch for of_key in rates_by_key(rates).values() for stretch in _of_key(of_key)]


def _of_key(rates: Sequence[Rate]) -> list[Stretch]:
    edges = {rate.starting_at for rate in rates} | {rate.ending_before for rate in rates if rate.ending_before}
    starts: list[datetime] = sorted(edges)
    out: list[Stretch] = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        rate = rate_in_force(rates, start)
        if rate is not None and out and out[-1].rate is rate and out[-1].end == start:
            out[-1] = msgspec.structs.replace(out[-1], end=end)
        elif rate is not None:
            out.append(Stretch(rate, start, end))
    return out
