"""Which rates of one request contradict one another: only one of them can be in force.

A rate without an end is followed by one that starts later; so prices change, and so they are listed. But two that start
at one instant, or one that is said to end after the next has begun, cannot both be meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from penstock.rater.definitions import Rate
from penstock.rater.rate_card import RateKey


class Overlap(NamedTuple):
    """The places of two rates, the one that starts first first."""

    first: int
    second: int


def overlap_in(rates: Sequence[Rate]) -> Overlap | None:
    """The first overlap of two rates of one product and one combination of group values, or None."""
    places: dict[RateKey, list[int]] = {}
    for place, rate in enumerate(rates):
        places.setdefault((rate.product_id, rate.group_values), []).append(place)
    for of_key in places.values():
        of_key.sort(key=lambda place: rates[place].starting_at)
        for first, second in pairwise(of_key):
            if _overlap(rates[first], rates[second]):
                return Overlap(first, second)
    return None


def _overlap(rate: Rate, later: Rate) -> bool:
    if rate.starting_at == later.starting_at:
        return True
    return rate.ending_before is not None and later.starting_at < rate.ending_before
