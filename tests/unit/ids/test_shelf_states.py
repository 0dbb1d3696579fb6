"""Whatever happens to files, store and process, the set on the shelf knows what a dict knows, no more and no less."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.ids.segment import IdsDamaged
from penstock.kernel.event import Verdict
from unit.ids.shelf_world import FIRST_DAY, Batch, Id, Later, World, arrays, spread, tiny

IDS = 60
BATCHES = st.lists(st.tuples(st.integers(0, IDS - 1).map(spread), st.integers(0, 1)), max_size=7)
# A batch, the days that go by before it, and whether the thread gets its turn after it.
RECORDS = st.lists(st.tuples(BATCHES, st.sampled_from([0, 0, 1, 2, 15]), st.booleans()), min_size=1, max_size=12)


@pytest.fixture(autouse=True)
def tiny_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny(patch)
        patch.setattr(os, "fsync", lambda descriptor: None)  # the machine does not stop here, only the process
        yield


class AgainstADict(RuleBasedStateMachine):
    """An owner that folds, dies, and starts again, on a shelf that is written to, robbed and damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Path(tempfile.mkdtemp()))
        self.day = FIRST_DAY
        self.flushed = -1
        self.kill()

    def kill(self) -> None:
        """kill -9, and a new process: nobody closes anything, and the thread's work ends where it is."""
        self.thread = Later()
        self.shelf = self.world.shelf(self.thread)
        self.restore()
        self.everything_is_answered_rightly()

    def restore(self) -> None:
        self.thread.finish()  # a real thread would be asked to stop, and waited for
        self.ids = self.shelf.restore(self.world.marker(self.flushed), self.world)
        self.folded = self.flushed

    def teardown(self) -> None:
        shutil.rmtree(self.world.folder)

    def fold(self, batch: Batch) -> bool:
        """Fold a record, which may be a replay; whether it stands, or a damaged file made the owner start again."""
        if self.folded + 1 == len(self.world.log):
            self.world.log.append((self.day, batch))
        try:
            said, expected = self.world.fold(self.ids, self.folded + 1)
        except IdsDamaged:
            self.restore()
            return False
        assert said == expected
        self.folded += 1
        return True

    @rule(records=RECORDS)
    def records_are_folded(self, records: list[tuple[Batch, int, bool]]) -> None:
        for batch, days, is_thread_next in records:
            self.day += days
            if self.fold(batch):
                self.flushed = self.folded
                marker = self.world.marker(self.flushed)
                assert marker is not None
                try:
                    self.shelf.tend(self.ids, marker)
                except IdsDamaged:
                    self.restore()
            if is_thread_next:
                self.thread.finish()

    @rule(batch=BATCHES)
    def the_process_is_killed_in_a_flush(self, batch: Batch) -> None:
        self.fold(batch)  # its ids are stored, its marker is not
        self.kill()

    @rule(is_written=st.booleans())
    def the_process_is_killed(self, is_written: bool) -> None:
        if is_written:
            self.thread.finish()
        self.kill()

    @rule()
    def the_owner_starts_again(self) -> None:
        self.restore()

    @precondition(lambda self: self.flushed > 0)
    @rule(back=st.integers(1, 20))
    def the_store_is_put_back(self, back: int) -> None:
        self.flushed = max(-1, self.flushed - back)
        self.kill()

    @precondition(lambda self: any(self.world.folder.iterdir()))
    @rule(data=st.data())
    def a_file_is_lost(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(sorted(self.world.folder.iterdir()))).unlink()
        self.kill()

    @rule()
    def another_pod_takes_over(self) -> None:
        shutil.rmtree(self.world.folder)
        self.kill()

    @rule()
    def the_store_is_away_for_the_thread(self) -> None:
        self.world.is_away = True
        self.thread.finish()
        self.world.is_away = False

    @precondition(lambda self: any(self.world.folder.iterdir()))
    @rule(data=st.data())
    def a_file_is_damaged(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.world.folder.iterdir())))
        content = bytearray(path.read_bytes())
        # Most of a head is filling that means nothing, so what is behind it is hit as often as the head itself.
        last = max(0, len(content) - 1)
        at = min(last, data.draw(st.one_of(st.integers(0, 400), st.integers(4096, max(4096, last)))))
        if not content or data.draw(st.booleans()):
            del content[at:]
        else:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        path.unlink()  # what is mapped stays as it is
        path.write_bytes(content)
        self.kill()

    @rule()
    def a_crash_leaves_halves(self) -> None:
        for name in ("1.2-3.4.ids.tmp", "1.2-3.4.ids.filter"):
            (self.world.folder / name).write_bytes(b"half")
        self.kill()
        assert not list(self.world.folder.glob("1.2-3.4*"))

    def known(self) -> dict[Id, int]:
        day = self.world.log[self.folded][0] if self.folded >= 0 else self.day
        return self.world.remembered(self.folded + 1, day)

    @rule()
    def everything_is_answered_rightly(self) -> None:
        every = [spread(number) for number in range(IDS)]
        known = self.known()
        same = [(id, known.get(id, 0)) for id in every]
        try:
            verdicts = self.ids.probe(*arrays(same)).tolist()
            others = self.ids.probe(*arrays([(id, body + 7) for id, body in same])).tolist()
        except IdsDamaged:
            self.restore()
            self.everything_is_answered_rightly()
            return
        assert verdicts == [Verdict.DUPLICATE if id in known else Verdict.ACCEPTED for id in every]
        assert others == [Verdict.CONFLICT if id in known else Verdict.ACCEPTED for id in every]

    @invariant()
    def has_as_many(self) -> None:
        assert len(self.ids) == len(self.known())


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=100, stateful_step_count=20)
