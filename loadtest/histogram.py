"""A histogram of microseconds in the manner of HdrHistogram: buckets that grow with the value, each within 1 %."""

from __future__ import annotations

from collections import Counter

_BITS = 8  # leading bits kept: 128 buckets for each doubling, so a bucket spans less than 1 % of its value
_MASK = (1 << _BITS) - 1
# Percentiles are asked in thousandths of a percent, so that 99.9 is a whole number.
PERCENT = 1_000
ALL = 100 * PERCENT


class Histogram:
    """Integers in, integers out; a percentile is never below the value it stands for."""

    def __init__(self) -> None:
        self.count = 0
        self.max_us = 0
        self._buckets: Counter[int] = Counter()

    def add(self, value_us: int) -> None:
        value_us = max(value_us, 0)
        shift = max(value_us.bit_length() - _BITS, 0)
        self._buckets[(shift << _BITS) + (value_us >> shift)] += 1
        self.count += 1
        if value_us > self.max_us:
            self.max_us = value_us

    def merge(self, other: Histogram) -> None:
        self._buckets.update(other._buckets)
        self.count += other.count
        self.max_us = max(self.max_us, other.max_us)

    def percentile(self, thousandths: int) -> int | None:
        """The value that `thousandths` / 1000 percent of all are at or below; None while there is none."""
        found = self.percentiles([thousandths])
        return found[0] if found else None

    def percentiles(self, wanted: list[int]) -> list[int]:
        """Values for ascending percentiles, in one walk; empty while nothing was added."""
        if not self.count:
            return []
        found: list[int] = []
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            while len(found) < len(wanted) and seen * ALL >= wanted[len(found)] * self.count:
                found.append(min(_top(bucket), self.max_us))
        return found


def _top(bucket: int) -> int:
    """The greatest value of a bucket."""
    shift, leading = bucket >> _BITS, bucket & _MASK
    return ((leading + 1) << shift) - 1
