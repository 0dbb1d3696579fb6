"""The gateway's window: it remembers only what it is told, and no more than its bounds allow."""

from __future__ import annotations

import numpy as np

from penstock.gateway.dedupe import Window
from penstock.kernel.event import Verdict
from penstock.kernel.identity import BodyHashes, Identities

BODY = 7


def ids(start: int, count: int) -> Identities:
    """`count` identities that stand for the numbers from `start` on, spread as hashes are."""
    numbers = np.arange(start, start + count, dtype=np.uint64)
    return np.stack([numbers * np.uint64(0x9E3779B97F4A7C15), numbers], axis=1)


def bodies(count: int, body: int = BODY) -> BodyHashes:
    return np.full(count, body, np.uint64)


def test_an_id_is_new_until_it_is_remembered() -> None:
    window = Window(100, 1)
    assert window.probe(ids(0, 2), bodies(2)).tolist() == [Verdict.ACCEPTED] * 2
    assert window.probe(ids(0, 2), bodies(2)).tolist() == [Verdict.ACCEPTED] * 2
    window.remember(5, ids(0, 1), bodies(1))
    assert window.probe(ids(0, 2), bodies(2)).tolist() == [Verdict.DUPLICATE, Verdict.ACCEPTED]
    assert window.probe(ids(0, 2), bodies(2, body=8)).tolist() == [Verdict.CONFLICT, Verdict.ACCEPTED]


def test_ids_older_than_the_window_are_forgotten() -> None:
    window = Window(100, 1)
    for day in (5, 6, 7):
        window.remember(day, ids(day, 1), bodies(1))
    assert window.probe(ids(5, 3), bodies(3)).tolist() == [Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.DUPLICATE]


def test_what_is_remembered_while_the_clock_is_back_stays_as_long_as_the_rest() -> None:
    window = Window(100, 1)
    for day in (6, 4, 7):
        window.remember(day, ids(day, 1), bodies(1))
    assert window.probe(ids(4, 4), bodies(4)).tolist() == [
        Verdict.DUPLICATE,
        Verdict.ACCEPTED,
        Verdict.DUPLICATE,
        Verdict.DUPLICATE,
    ]


def test_beyond_its_bound_the_oldest_ids_go_first() -> None:
    window = Window(1_500_000, 1)
    for start in range(0, 4_000_000, 400_000):
        window.remember(5, ids(start, 400_000), bodies(400_000))
        assert len(window) <= 1_500_000
    assert window.probe(ids(0, 2), bodies(2)).tolist() == [Verdict.ACCEPTED] * 2
    assert window.probe(ids(3_999_998, 2), bodies(2)).tolist() == [Verdict.DUPLICATE] * 2
