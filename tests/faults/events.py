"""The events, customers and metrics of every scenario, and what the reference model says that they come to."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import reference
from builders import Body, a_metric_body, a_sum_body, an_event, yesterday

DAY = yesterday()
CUSTOMERS = ("acme", "globex", "initech")
BY = ("region", "model")
_KEYS: Body = {"group_keys": [list(BY)]}
BODIES = {
    "count": a_metric_body("count", **_KEYS),
    "sum": a_sum_body("units", **_KEYS),
    "max": a_metric_body("max", "MAX", aggregation_key="units", **_KEYS),
    "latest": a_metric_body("latest", "LATEST", aggregation_key="units", **_KEYS),
    "unique": a_metric_body("unique", "UNIQUE", aggregation_key="units", **_KEYS),
}
HOURS = 6  # of the day in which events lie: few windows, so that owners meet each other's cells
END = DAY + timedelta(hours=HOURS)
REPEATED_SHARE = 10
Figures = Mapping[tuple[str, datetime, tuple[str | None, ...]], Decimal | None]  # by customer, window and groups


def some_events(chance: random.Random, first: int, count: int, name: str = "e") -> list[Body]:
    """New events, numbered from `first`; one in ten comes twice."""
    made = [
        an_event(
            f"{name}{first + n}",
            customer_id=chance.choice(CUSTOMERS),
            at=DAY + timedelta(seconds=chance.randrange(HOURS * 3600)),
            properties={
                "units": Decimal(chance.randrange(1, 4_000)) / 8,
                "region": chance.choice(["eu", "us", None]),
                "model": chance.choice(["small", "large"]),
            },
        )
        for n in range(count)
    ]
    return made + chance.sample(made, count // REPEATED_SHARE)


def differences(found: Mapping[str, Figures], accepted: Sequence[reference.Body]) -> list[str]:
    """Where usage by metric of `BODIES`, customer, group and window is not what the reference says."""
    return [
        f"{kind}: {place} is {mine.get(place)}, not {theirs.get(place)}"
        for kind, mine in found.items()
        for theirs in [expected(BODIES[kind], accepted)]
        for place in sorted(mine.keys() | theirs.keys(), key=str)
        if mine.get(place) != theirs.get(place)
    ]


def expected(body: Body, accepted: Sequence[reference.Body]) -> Figures:
    found: dict[tuple[str, datetime, tuple[str | None, ...]], Decimal | None] = {}
    for customer in CUSTOMERS:
        mine = [event for event in accepted if event["customer_id"] == customer]
        table = reference.usage(body, mine, DAY, END, "QUARTER", BY)
        found |= {(customer, start, groups): value for (start, groups), value in table.items()}
    return found
