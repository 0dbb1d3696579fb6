"""The set of seen ids answers as a dict would, whatever its tables and runs look like inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.kernel import idset
from penstock.kernel.event import Verdict
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idset import IdSet

Id = tuple[int, int]
NEW, REPEAT, CLASH = int(Verdict.ACCEPTED), int(Verdict.DUPLICATE), int(Verdict.CONFLICT)

# Few first halves, so that whole ids differ in their second half alone; some collide in their slot only.
IDS = st.tuples(st.sampled_from([0, 7, 7 + (1 << 40), 2**64 - 1]), st.integers(0, 9))
BATCHES = st.lists(st.tuples(IDS, st.integers(0, 1)), max_size=12)


def arrays(batch: Sequence[tuple[Id, int]]) -> tuple[Identities, BodyHashes]:
    ids = np.array([id for id, _ in batch], np.uint64).reshape(-1, 2)
    return ids, np.array([body for _, body in batch], np.uint64)


def take(seen: IdSet, day: int, batch: Sequence[tuple[Id, int]]) -> list[int]:
    """Probe, and remember what is new: what gateway and fold do."""
    ids, bodies = arrays(batch)
    verdicts = seen.probe(ids, bodies)
    new = verdicts == Verdict.ACCEPTED
    seen.add(day, ids[new], bodies[new])
    return [int(verdict) for verdict in verdicts]


@pytest.fixture(autouse=True)
def tiny_table() -> Iterator[None]:
    """A table of four ids, so that a handful of them is sealed into runs and merged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idset, "TABLE_IDS_MAX", 4)
        yield


class AgainstADict(RuleBasedStateMachine):
    """Every way to use the set, beside a dict of id to (body, day)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = IdSet()
        self.model: dict[Id, tuple[int, int]] = {}
        self.day = 100

    @rule(batch=BATCHES)
    def take(self, batch: list[tuple[Id, int]]) -> None:
        expected = []
        for id, body in batch:
            known, _ = self.model.setdefault(id, (body, -1))
            is_new = self.model[id][1] == -1
            expected.append(NEW if is_new else REPEAT if known == body else CLASH)
            if is_new:
                self.model[id] = (body, self.day)

        assert take(self.seen, self.day, batch) == expected

    @rule(batch=BATCHES)
    def probing_remembers_nothing(self, batch: list[tuple[Id, int]]) -> None:
        once, twice = self.seen.probe(*arrays(batch)), self.seen.probe(*arrays(batch))

        assert once.tolist() == twice.tolist()

    @rule(days=st.integers(1, 3))
    def a_day_begins(self, days: int) -> None:
        self.day += days

    @rule(age=st.integers(0, 4))
    def old_days_are_forgotten(self, age: int) -> None:
        self.seen.drop_before(self.day - age)
        self.model = {id: (body, day) for id, (body, day) in self.model.items() if day >= self.day - age}

    @rule(batch=BATCHES, age=st.integers(0, 4))
    def a_generation_is_restored(self, batch: list[tuple[Id, int]], age: int) -> None:
        lost = {id: body for id, body in batch if id not in self.model}
        self.seen.restore(self.day - age, *arrays(list(lost.items())))
        self.model |= {id: (body, self.day - age) for id, body in lost.items()}

    @precondition(lambda self: self.model)
    @rule()
    def everything_known_is_known(self) -> None:
        ids, bodies = arrays([(id, body) for id, (body, _) in self.model.items()])

        assert self.seen.probe(ids, bodies).tolist() == [REPEAT] * len(ids)
        assert self.seen.probe(ids, bodies + np.uint64(1)).tolist() == [CLASH] * len(ids)

    @invariant()
    def has_as_many(self) -> None:
        assert len(self.seen) == len(self.model)


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=60, stateful_step_count=30)


def test_repeats_inside_a_batch_are_judged_by_its_first() -> None:
    batch = [((1, 1), 0), ((2, 2), 0), ((1, 1), 0), ((1, 1), 5), ((2, 2), 5), ((2, 2), 0)]

    assert take(IdSet(), 1, batch) == [NEW, NEW, REPEAT, CLASH, CLASH, REPEAT]


def test_repeats_inside_a_batch_of_a_known_id_are_judged_by_the_known_one() -> None:
    seen = IdSet()
    take(seen, 1, [((1, 1), 0)])

    assert take(seen, 1, [((1, 1), 5), ((1, 1), 5), ((1, 1), 0)]) == [CLASH, CLASH, REPEAT]


def test_ids_that_share_their_first_64_bits_are_different_ids() -> None:
    seen = IdSet()
    cousins = [((42, n), 0) for n in range(9)]  # through a table and runs

    assert take(seen, 1, cousins[:8]) == [NEW] * 8
    assert take(seen, 1, cousins) == [REPEAT] * 8 + [NEW]
    assert len(seen) == 9


def test_a_generation_ends_as_a_whole() -> None:
    seen = IdSet()
    monday, tuesday = [((n, 0), 0) for n in range(6)], [((n, 1), 0) for n in range(6)]
    take(seen, 1, monday)
    take(seen, 2, tuesday)

    seen.drop_before(2)
    assert (len(seen), take(seen, 2, tuesday)) == (6, [REPEAT] * 6)
    assert take(seen, 2, monday) == [NEW] * 6
    seen.drop_before(3)
    assert (len(seen), take(seen, 3, tuesday)) == (0, [NEW] * 6)


def test_a_duplicate_does_not_renew_its_generation() -> None:
    seen = IdSet()
    take(seen, 1, [((1, 1), 0)])
    take(seen, 5, [((1, 1), 0)])

    seen.drop_before(2)

    assert take(seen, 5, [((1, 1), 0)]) == [NEW]


def test_the_oldest_run_is_dropped_first() -> None:
    seen = IdSet()
    for day in (1, 2, 3):
        take(seen, day, [((day, n), 0) for n in range(3)])  # the table of day 3 is no run yet

    seen.drop_oldest_run()
    assert (len(seen), take(seen, 3, [((2, 0), 0), ((3, 0), 0)])) == (6, [REPEAT, REPEAT])
    assert seen.probe(*arrays([((1, 0), 0)])).tolist() == [NEW]
    seen.drop_oldest_run()
    seen.drop_oldest_run()
    assert len(seen) == 3


def test_a_table_grows_past_its_first_size_and_its_slots_may_all_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idset, "TABLE_IDS_MAX", 1 << 13)
    seen = IdSet()
    batch = [((n << 40, n), 0) for n in range(3_000)]

    assert set(take(seen, 1, batch[:10])) == {NEW}
    assert take(seen, 1, batch) == [REPEAT] * 10 + [NEW] * 2_990
    assert take(seen, 1, batch) == [REPEAT] * 3_000


def test_an_empty_batch_is_answered_with_nothing() -> None:
    seen = IdSet()

    assert take(seen, 1, []) == []
    seen.restore(1, *arrays([]))
    assert len(seen) == 0
