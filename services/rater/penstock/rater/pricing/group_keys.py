"""Usage by some of its group keys: groups that agree in them are added up, and a key that is absent is None."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal

from penstock.kernel.meter import GroupValue
from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.price import GroupValues
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.used import Groups, Used

Values = tuple[GroupValue, ...]


def by_values(groups: Groups, keys: Sequence[str]) -> dict[Values, Decimal]:
    """In the order of the values' text, so that the order of the groups changes nothing."""
    out: dict[Values, Decimal] = {}
    for group, quantity in groups.items():
        values = values_of(group, keys)
        out[values] = out.get(values, ZERO) + quantity
    return {values: out[values] for values in sorted(out, key=_place)}


def split(used: Used, keys: Sequence[str]) -> dict[Values, Used]:
    """The usage of each combination, in the same order, with as much of it known as before."""
    if used.by_event is None:
        groups: dict[Values, dict[GroupValues, Decimal]] = {}
        for group, quantity in used.groups.items():
            groups.setdefault(values_of(group, keys), {})[group] = quantity
        return {values: Used(by_group=groups[values]) for values in sorted(groups, key=_place)}
    events: dict[Values, list[UsedEvent]] = {}
    for event in used.by_event:
        events.setdefault(values_of(event.groups, keys), []).append(event)
    return {values: Used(by_event=tuple(events[values])) for values in sorted(events, key=_place)}


def in_order(group: GroupValues) -> tuple[tuple[bool, str], ...]:
    """By the text of the values, and what has none first: where groups are told, they are told in this order."""
    return _place(tuple(value for _, value in group))


def values_of(group: GroupValues, keys: Sequence[str]) -> Values:
    named = dict(group)
    return tuple(named.get(key) for key in keys)


def _place(values: Values) -> tuple[tuple[bool, str], ...]:
    return tuple((value is not None, value or "") for value in values)


def fault_of_keys(keys: Sequence[str]) -> str | None:
    """Why usage cannot be grouped by `keys`, or None where it can."""
    if not keys:
        return "keys must name at least one group key"
    return next((f"the group key {json.dumps(key)} stands twice" for key in keys if keys.count(key) > 1), None)


def fault_of_values(keys: Sequence[str], combinations: Sequence[Values], what: str) -> str | None:
    """Why `combinations` are not each one value for each key and named once. `what` is the word for one of them."""
    wanted = "1 value" if len(keys) == 1 else f"{len(keys)} values"
    seen: set[Values] = set()
    for values in combinations:
        if len(values) != len(keys):
            return f"the {what} for {json.dumps(values)} must have {wanted}, one for each key"
        if values in seen:
            return f"there are two {what}s for {json.dumps(values)}"
        seen.add(values)
    return None
