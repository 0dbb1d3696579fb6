"""THRESHOLD_TOTAL: the amount of the highest threshold that the total has reached."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import Threshold, ThresholdTotal
from penstock.rater.pricing.priced import NOTHING, Priced, summed


def threshold_total(price: ThresholdTotal, quantity: Decimal) -> Priced:
    level = sum(quantity >= threshold.reached for threshold in price.thresholds)
    if not level:
        return NOTHING
    highest = price.thresholds[level - 1]
    return summed([Part("threshold", quantity, None, highest.amount, level, highest.reached)])


def fault_of_thresholds(thresholds: Sequence[Threshold]) -> str | None:
    """Why these are no thresholds, or None where they are."""
    if not thresholds:
        return "there is at least one threshold"
    if thresholds[0].reached < 0:
        return "a threshold is reached at zero or more"
    for level, (lower, upper) in enumerate(itertools.pairwise(thresholds), start=2):
        if upper.reached <= lower.reached:
            return f"threshold {level} must be above {lower.reached}"
    return None
