"""The shelf of one partition: what goes to files, what a restart takes from them, and what it must not believe."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from penstock.ids import durable, writing
from penstock.ids.memory import MemoryShelf
from penstock.ids.run_file import RunFile
from penstock.ids.segment import IdsDamaged
from penstock.ids.shelf import Shelf
from penstock.kernel.event import GENERATIONS_KEPT, Verdict
from penstock.kernel.idset import IdSet
from penstock.kernel.ports.fold_store import Stretch
from unit.ids.shelf_world import FIRST_DAY, LOG_ID, Batch, Later, World, arrays, spread, tiny

IDS_PER_DAY = 4


@pytest.fixture(autouse=True)
def tiny_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny(monkeypatch)


class Owner:
    """Folds a day at a time onto a shelf whose thread works at once, unless told otherwise."""

    def __init__(self, world: World, flushed: int = -1) -> None:
        self.world, self.thread = world, Later()
        self.shelf = world.shelf(self.thread)
        self.offset = flushed
        self.ids = self.restored()

    def restored(self) -> IdSet:
        self.thread.finish()  # a real thread would be waited for
        return self.shelf.restore(self.world.marker(self.offset), self.world)

    def fold(self, records: int, gap: int = 1) -> None:
        for _ in range(records):
            first = IDS_PER_DAY * len(self.world.log)
            batch: Batch = [(spread(n), n) for n in range(first, first + IDS_PER_DAY)]
            day = self.world.log[-1][0] + gap if self.world.log else FIRST_DAY
            self.world.log.append((day, batch))
            self.offset += 1
            said, expected = self.world.fold(self.ids, self.offset)
            assert said == expected
            self.tend()

    def tend(self) -> None:
        """Until there is nothing to do."""
        marker = self.world.marker(self.offset)
        assert marker is not None
        self.shelf.tend(self.ids, marker)
        while self.shelf.is_writing:
            self.thread.finish()
            self.shelf.tend(self.ids, marker)

    def known(self) -> list[int]:
        """The ids that are known, by their numbers."""
        every = [(spread(n), n) for n in range(IDS_PER_DAY * len(self.world.log))]
        return np.flatnonzero(self.ids.probe(*arrays(every)) == Verdict.DUPLICATE).tolist()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "ids")


def test_a_restart_takes_from_files_what_they_have_and_asks_the_store_for_the_rest(world: World) -> None:
    owner = Owner(world)
    owner.fold(21)
    files = [file.segment for file in owner.shelf.files]
    again = Owner(world, owner.offset)

    assert [file.segment for file in again.shelf.files] == files
    assert world.asked == [Stretch(files[-1].end.day, 20, files[-1].end.offset, FIRST_DAY + 20)]
    assert again.known() == owner.known() == list(range(84))
    assert sum(file.rows for file in files) == 80  # the newest day is in memory


def test_a_set_from_files_is_a_set_from_the_store(world: World) -> None:
    Owner(world).fold(50)
    files = Owner(world, 49)
    memory = Owner(world, 49)
    memory.ids = MemoryShelf(0).restore(world.marker(49), world)

    assert files.known() == memory.known() == list(range(13 * IDS_PER_DAY, 50 * IDS_PER_DAY))
    assert len(files.ids) == len(memory.ids) == GENERATIONS_KEPT * IDS_PER_DAY


def test_days_are_merged_into_few_files_and_expired_ones_are_removed(world: World) -> None:
    owner = Owner(world)
    most = 0
    for _ in range(20):
        owner.fold(4)
        owner.fold(4, gap=0)
        most = max(most, len(owner.shelf.files))

    spans = [max(file.counts) - min(file.counts) for file in owner.shelf.files]
    assert most <= 12
    assert max(spans) <= 7
    assert len(list(world.folder.iterdir())) == 2 * len(owner.shelf.files)
    assert owner.shelf.files[0].segment.end.day > owner.world.log[-1][0] - GENERATIONS_KEPT


def test_opening_reads_heads_and_a_look_up_that_no_filter_passes_maps_nothing(world: World) -> None:
    Owner(world).fold(12)
    again = Owner(world, 11)
    assert all("_filter" not in vars(file) for file in again.shelf.files)
    assert not again.ids.probe(*arrays([(spread(1_001), 0)])).any()
    assert all("_filter" in vars(file) for file in again.shelf.files)
    assert all("_map" not in vars(file) for file in again.shelf.files)
    again.known()
    assert all("_map" in vars(file) for file in again.shelf.files)


def test_a_file_takes_25_bytes_an_id(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # blocks of their real size
    batch = [(spread(n), n) for n in range(20_000)]
    world.log.append((FIRST_DAY, batch))
    owner = Owner(world)
    owner.offset = 0
    owner.world.fold(owner.ids, 0)
    owner.tend()
    [file] = owner.shelf.files

    assert 25 <= file.path.stat().st_size / 20_000 < 25.3
    assert file.filter_bytes / 20_000 < 1.75


@pytest.mark.parametrize("marker", [3, 9, 10])
def test_a_file_beyond_the_marker_is_put_away(world: World, marker: int) -> None:
    Owner(world).fold(12)
    again = Owner(world, marker)

    assert all(file.segment.end.offset <= marker for file in again.shelf.files)
    assert again.known() == list(range((marker + 1) * IDS_PER_DAY))
    assert len(list(world.folder.glob("*.ids"))) == len(again.shelf.files)


def test_what_a_merge_left_out_is_read_from_the_store_when_that_is_put_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner(world)
    with monkeypatch.context() as patch:
        patch.setattr("penstock.ids.shelf.newest_to_merge", lambda sizes: 0)
        owner.fold(3)
        owner.fold(5, gap=0)
    assert len(owner.shelf.files) == 4
    owner.fold(1, gap=GENERATIONS_KEPT - 2)  # the first of the three days expires, and the files are merged
    [file] = owner.shelf.files
    assert (file.segment.rows, len(owner.ids)) == (28, 32)

    assert Owner(world, 7).known() == list(range(32))


def test_a_crash_between_a_merge_and_its_being_taken_in_leaves_no_id_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner(world)
    with monkeypatch.context() as patch:
        patch.setattr("penstock.ids.shelf.newest_to_merge", lambda sizes: 0)
        owner.fold(8, gap=0)
    marker = world.marker(7)
    assert marker is not None
    owner.shelf.tend(owner.ids, marker)
    owner.thread.finish()
    assert len(list(world.folder.glob("*.ids"))) == 5
    again = Owner(world, 7)

    assert [file.segment.rows for file in again.shelf.files] == [32]
    assert len(list(world.folder.glob("*.ids"))) == 1
    assert (len(again.ids), again.known()) == (32, list(range(32)))


@pytest.mark.parametrize(("log_id", "partition"), [("log-2", 0), (LOG_ID, 1)])
def test_a_file_of_another_log_or_partition_is_put_away(world: World, log_id: str, partition: int) -> None:
    Owner(world).fold(6)
    assert list(world.folder.iterdir())
    ids = world.shelf(log_id=log_id, partition=partition).restore(world.marker(5), world)

    assert list(world.folder.iterdir()) == []
    assert len(ids) == 24


def test_a_store_without_a_marker_begins_with_nothing(world: World) -> None:
    Owner(world).fold(6)

    assert len(Owner(world).ids) == 0
    assert list(world.folder.iterdir()) == []


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(at: int) -> Callable[[Path], None]:
    def flipped(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 4
        path.write_bytes(content)

    return flipped


@pytest.mark.parametrize("suffix", [".ids", ".ids.filter"])
@pytest.mark.parametrize("damage", [lose, cut, flip(3), flip(30), flip(4100), flip(-2)])
@pytest.mark.parametrize("at", [0, 1, -1])
def test_a_lost_or_damaged_file_is_found_out_and_its_ids_come_from_the_store(
    world: World, suffix: str, damage: Callable[[Path], None], at: int
) -> None:
    owner = Owner(world)
    owner.fold(14)
    assert len(owner.shelf.files) >= 2
    path = owner.shelf.files[at].path
    damage(path.with_name(path.name.removesuffix(".ids") + suffix))
    again = Owner(world, owner.offset)
    try:
        known = again.known()
    except IdsDamaged:
        again.ids = again.restored()
        known = again.known()

    assert known == list(range(56))
    assert Owner(world, owner.offset).known() == known


def test_damage_that_a_merge_meets_stops_it(world: World) -> None:
    owner = Owner(world)
    owner.fold(2)
    [file] = owner.shelf.files
    flip(4096 + file.segment.rows * 24)(file.path)  # the days, at which no look-up looks yet
    again = Owner(world, 1)
    with pytest.raises(IdsDamaged):
        again.fold(8, gap=0)
    again.offset = max(world.stored)
    again.ids = again.restored()

    assert again.offset > 2
    assert again.known() == list(range((again.offset + 1) * IDS_PER_DAY))


def test_a_full_disk_leaves_everything_in_memory_until_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owner = Owner(world)

    def full(*_: object) -> RunFile:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("penstock.ids.shelf.write", full)
        owner.fold(3)
    assert "no space left" in caplog.text
    assert (owner.shelf.files, owner.known()) == ((), list(range(12)))
    owner.fold(2)

    assert sum(len(file) for file in owner.shelf.files) == 16
    assert owner.known() == list(range(20)) == Owner(world, 4).known()


def test_a_fold_that_was_given_up_cannot_touch_the_shelf(world: World) -> None:
    owner = Owner(world)
    owner.fold(1)
    given_up = owner.ids
    owner.ids = owner.restored()
    world.log.append((FIRST_DAY + 1, [(spread(99), 0)]))
    world.fold(given_up, 1)
    marker = world.marker(1)
    assert marker is not None
    owner.shelf.tend(given_up, marker)

    assert not owner.shelf.is_writing


def test_a_write_that_is_given_up_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(world.folder, 0, LOG_ID, memory_ids_max=4)
    ids = shelf.restore(None, world)
    merged = writing._merged

    def slowly(*given: object) -> object:
        shelf._stop.wait(60)  # as a long merge, which looks up once per slice
        return merged(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "_merged", slowly)
    world.log.append((FIRST_DAY, [(spread(n), 0) for n in range(9)]))
    world.fold(ids, 0)
    marker = world.marker(0)
    assert marker is not None
    shelf.tend(ids, marker)
    assert shelf.is_writing
    shelf.close()

    assert list(world.folder.iterdir()) == []


KILLED = """
import sys
from pathlib import Path
from penstock.ids import durable
for n in range(10**6):
    with durable.replacing(Path(sys.argv[1])) as file:
        for part in range(64):
            file.write(bytes([n % 256]) * 4096)
    if n == 3:
        print("running", flush=True)
"""


def test_a_file_is_whole_or_not_there_whenever_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"running\n"
            process.kill()
        content = path.read_bytes()

        assert content == content[:1] * 64 * 4096
        assert {each.suffix for each in tmp_path.iterdir()} <= {"", durable.TEMPORARY}


def test_a_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    held = durable.lock(tmp_path / "ids")
    with pytest.raises(durable.FolderInUse, match="ids is in use by another process"):
        durable.lock(tmp_path / "ids")
    held.close()

    durable.lock(tmp_path / "ids").close()
