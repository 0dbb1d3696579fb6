"""A made-up day of an LLM vendor: what its customers used, what was sent of it and how often, and the exact truth.

Every run plays the same day, apart from its date: all chance comes from `Random.random`, whose sequence Python keeps.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, TypeVar

T = TypeVar("T")

# Ingest alias and name.
CUSTOMERS = {"acme": "Acme Robotics", "birch": "Birch Analytics", "cobalt": "Cobalt Health", "delta": "Delta Games"}
# One drawn at random: Acme makes almost half of the traffic.
_WHO = ("acme",) * 9 + ("birch",) * 6 + ("cobalt",) * 3 + ("delta",) * 2
_MODELS = ("atlas-large", "atlas-small")
_REGIONS = ("eu-west", "us-east")

ON_TIME, LATE, REPEATS, CONFLICTS = 24_000, 600, 1_800, 60
LATE_BY = timedelta(days=2)
BATCH_EVENTS = 100
_DAY_MS = 86_400_000


class Event(NamedTuple):
    """One answer of a model. `gpu_ms` are milliseconds; the event says seconds."""

    transaction_id: str
    customer: str
    at: datetime
    model: str
    region: str
    input_tokens: int
    output_tokens: int
    gpu_ms: int

    def body(self) -> dict[str, object]:
        return {
            "transaction_id": self.transaction_id,
            "customer_id": self.customer,
            "event_type": "llm.completion",
            "timestamp": self.at.isoformat(timespec="milliseconds"),
            "properties": {
                "model": self.model,
                "region": self.region,
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
                # A whole number of thousandths is written with its three digits: the JSON text is exact.
                "gpu_seconds": self.gpu_ms / 1000,
            },
        }


# What is metered, and how much of it one event is.
MEASURES: dict[str, Callable[[Event], Decimal]] = {
    "Requests": lambda event: Decimal(1),
    "Input tokens": lambda event: Decimal(event.input_tokens),
    "Output tokens": lambda event: Decimal(event.output_tokens),
    "GPU seconds": lambda event: Decimal(event.gpu_ms).scaleb(-3),
}


class VendorDay:
    """`counted` are the events that happened, each once; `waves` is what is sent, in batches.

    A wave is sent when the one before it is acknowledged: only so is it known that a conflicting copy came second.
    """

    def __init__(self, date: datetime, seed: int = 7) -> None:
        self._chance = random.Random(seed)
        self.date = date
        on_time = [self._event(f"req-{n:06d}", date) for n in range(ON_TIME)]
        late = [self._event(f"late-{n:06d}", date - LATE_BY) for n in range(LATE)]
        self.counted = on_time + late
        at_once = REPEATS // 2
        by_day = on_time + [self._pick(on_time) for _ in range(at_once)]
        overnight = late + [self._pick(on_time) for _ in range(REPEATS - at_once)]
        overnight += [event._replace(output_tokens=event.output_tokens + 1_000) for event in on_time[:CONFLICTS]]
        self.sent = len(by_day) + len(overnight)
        self.waves = [self._batches(by_day), self._batches(overnight)]

    def tally(self, measure: str, by: Callable[[Event], T]) -> dict[T, Decimal]:
        """The true figures of a measure, by whatever `by` tells apart."""
        totals: defaultdict[T, Decimal] = defaultdict(Decimal)
        for event in self.counted:
            totals[by(event)] += MEASURES[measure](event)
        return dict(totals)

    def _event(self, transaction_id: str, date: datetime) -> Event:
        return Event(
            transaction_id,
            customer=self._pick(_WHO),
            # The middle of two instants: quiet at night, busiest at noon.
            at=date + timedelta(milliseconds=(self._below(_DAY_MS) + self._below(_DAY_MS)) // 2),
            model=self._pick(_MODELS),
            region=self._pick(_REGIONS),
            input_tokens=200 + self._below(4_000),
            output_tokens=50 + self._below(1_500),
            gpu_ms=200 + self._below(6_000),
        )

    def _below(self, bound: int) -> int:
        return int(self._chance.random() * bound)

    def _pick(self, options: Sequence[T]) -> T:
        return options[self._below(len(options))]

    def _batches(self, events: Sequence[Event]) -> list[list[Event]]:
        """In any order, as clients that retry do."""
        shuffled = sorted(events, key=lambda event: self._chance.random())
        return [shuffled[n : n + BATCH_EVENTS] for n in range(0, len(shuffled), BATCH_EVENTS)]


def yesterday() -> datetime:
    """The last whole day of UTC, by its first instant."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
