"""Tier lists as dialects write them, with two ends each, become the ends of half-open tiers, exact for any fraction.

"0-10, 11-20, 21-" counts whole units, "0-0.1, 0.1-1, 1-" touches: both say (0, 10], (10, 20], ... A list may begin at
0 or at 1, which is its first unit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal

# First and last unit of a tier; None is open-ended.
Range = tuple[Decimal, Decimal | None]
FIRST_UNITS = (Decimal(0), Decimal(1))


def ends_of(ranges: Sequence[Range]) -> tuple[Decimal | None, ...]:
    """Raise `ValueError` that names the gap, the overlap or the wrong order."""
    if not ranges:
        raise ValueError("a tier list has at least one tier")
    if ranges[0][0] not in FIRST_UNITS:
        raise ValueError(f"tier 1 must begin at 0 or 1, not at {ranges[0][0]}")
    for level, ((first, last), (following, _)) in enumerate(itertools.pairwise(ranges), start=1):
        if last is None:
            raise ValueError(f"tier {level} is open-ended, but only the last tier may be")
        if last < first:
            raise ValueError(f"tier {level} ends at {last}, before it begins at {first}")
        if following < last:
            raise ValueError(f"tier {level + 1} begins at {following} and overlaps tier {level}, which ends at {last}")
        if following not in (last, last + 1):
            raise ValueError(f"there is a gap between tier {level}, which ends at {last}, and {following}")
    if ranges[-1][1] is not None:
        raise ValueError("the last tier must be open-ended")
    return tuple(last for _, last in ranges)
