"""Traffic whose truth is known: batches made from templates by writing a batch number over a mark in their ids.

What a template's events add up to is counted once, when it is made; a batch costs one `bytes.join`, so the truth of a
run costs no Python statement per event. Times in a template are relative to a minute that each batch brings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import msgspec

MARK = "~id~mark~~"  # as long as a batch number
EVENT_TYPE = "llm.completion"
TOKENS = "output_tokens"
MINUTES_PER_DAY = 24 * 60
LATE_DAYS = (1, 2, 3)
OUT_OF_ORDER_MINUTES_MAX = 29
TEMPLATE_EVENTS = 16_384  # of all templates together, so that a change of minute stays cheap
TEMPLATES_MIN, TEMPLATES_MAX = 4, 1_024
# What a disputed event claims on top: no rounding and no small mistake looks like it.
DISPUTED_TOKENS = 1_000_000


class Planned(NamedTuple):
    """An event of a template. Its id holds the mark, its instant is `minutes_back` before the batch's minute."""

    transaction_id: str
    customer: str
    groups: tuple[str, ...]
    tokens: int
    minutes_back: int
    ms_of_minute: int
    properties: bytes

    def time_us(self, minute: int) -> int:
        """The instant in microseconds since the epoch, in a batch of `minute` (minutes since the epoch)."""
        return ((minute - self.minutes_back) * 60_000 + self.ms_of_minute) * 1_000


class Part(IntEnum):  # an Enum hashes in Python, and this one is hashed for every batch
    """What of a batch is sent. Only NEW is counted; the others go over ids that are already on their way."""

    NEW = 0
    REPEAT = 1  # the batch once more, verbatim
    FIRST = 2  # its first events once more, verbatim
    DISPUTED = 3  # the same with other bodies


Encode = Callable[[Sequence[Planned], int], bytes]


class Shape(msgspec.Struct, frozen=True):
    """What the traffic looks like. Shares are of 1; `dimensions` says how many values each group key has."""

    batch_events: int
    late: float
    out_of_order: float
    skew: float
    dimensions: Mapping[str, int]
    seed: int


class Template(NamedTuple):
    """One batch in all its parts."""

    parts: Mapping[Part, Sequence[Planned]]

    @property
    def events(self) -> Sequence[Planned]:
        return self.parts[Part.NEW]


class Traffic:
    """Every batch of a run: number `n` is made from template `n` modulo their count."""

    def __init__(self, shape: Shape, customers: Sequence[str], run: str, encode: Encode) -> None:
        first = max(1, shape.batch_events // 4)
        whole = shape.batch_events
        self.sizes = {Part.NEW: whole, Part.REPEAT: whole, Part.FIRST: first, Part.DISPUTED: first}
        count = min(TEMPLATES_MAX, max(TEMPLATES_MIN, TEMPLATE_EVENTS // shape.batch_events))
        chance = random.Random(shape.seed)  # the same traffic for the same seed; only the ids differ by run
        weights = [1 / (rank + 1) ** shape.skew for rank in range(len(customers))]
        self.templates = [self._template(shape, customers, weights, run, chance) for _ in range(count)]
        self._encode = encode
        self._pieces: dict[tuple[int, Part], tuple[int, list[bytes]]] = {}  # the minute, and the text cut at its marks

    def body(self, number: int, minute: int, part: Part) -> bytes:
        """The bytes of batch `number`; no two numbers share an id, and the same arguments give the same bytes."""
        place = (number % len(self.templates), part)
        made_for, pieces = self._pieces.get(place, (-1, []))
        if made_for != minute:
            pieces = self._encode(self.templates[place[0]].parts[part], minute).split(MARK.encode())
            self._pieces[place] = (minute, pieces)
        return (b"%010d" % number).join(pieces)  # six times as fast as `replace` (measured)

    def _template(
        self, shape: Shape, customers: Sequence[str], weights: Sequence[float], run: str, chance: random.Random
    ) -> Template:
        times = _times(shape, chance)
        chosen = chance.choices(customers, weights, k=shape.batch_events)
        whole = []
        for place, (customer, (minutes_back, ms_of_minute)) in enumerate(zip(chosen, times, strict=True)):
            groups = tuple(f"{name}-{chance.randrange(values)}" for name, values in shape.dimensions.items())
            tokens, other = chance.randrange(2_000), chance.randrange(8_000)
            properties = _properties(shape.dimensions, groups, tokens, other)
            transaction_id = f"{run}-{MARK}-{place:05d}"
            whole.append(Planned(transaction_id, customer, groups, tokens, minutes_back, ms_of_minute, properties))
        first = whole[: self.sizes[Part.FIRST]]
        disputed = [
            event._replace(properties=_properties(shape.dimensions, event.groups, event.tokens + DISPUTED_TOKENS, 0))
            for event in first
        ]
        return Template({Part.NEW: whole, Part.REPEAT: whole, Part.FIRST: first, Part.DISPUTED: disputed})


def _times(shape: Shape, chance: random.Random) -> list[tuple[int, int]]:
    """For each event of a batch, minutes back and the millisecond: ascending, but for the late and the shuffled."""
    ascending = sorted(chance.randrange(60_000) for _ in range(shape.batch_events))
    times = []
    for ms_of_minute in ascending:
        fate = chance.random()
        if fate < shape.late:
            times.append((chance.choice(LATE_DAYS) * MINUTES_PER_DAY, ms_of_minute))
        elif fate < shape.late + shape.out_of_order:
            times.append((chance.randint(1, OUT_OF_ORDER_MINUTES_MAX), chance.randrange(60_000)))
        else:
            times.append((0, ms_of_minute))
    return times


def _properties(dimensions: Mapping[str, int], groups: Sequence[str], tokens: int, other: int) -> bytes:
    return msgspec.json.encode({"input_tokens": other, TOKENS: tokens, **dict(zip(dimensions, groups, strict=True))})
