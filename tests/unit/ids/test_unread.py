"""An owner that takes a partition over without files: it answers at once, and has files in the end."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from penstock.ids import shelf
from penstock.ids.run_file import RunFile
from penstock.kernel.event import GENERATIONS_KEPT, Verdict
from penstock.kernel.identity import Identities
from penstock.kernel.ports.fold_store import Stretch
from penstock.kernel.problems import StoreUnavailable
from unit.ids.shelf_world import FIRST_DAY, World, spread, tiny
from unit.ids.test_shelf import IDS_PER_DAY, Owner


@pytest.fixture(autouse=True)
def tiny_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny(monkeypatch)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "ids")


def successor(world: World) -> Owner:
    """Who goes on elsewhere, with none of the files."""
    world.folder = world.folder.with_name("elsewhere")
    return Owner(world, len(world.log) - 1)


def test_at_its_start_it_reads_no_id_and_answers_rightly(world: World) -> None:
    Owner(world).fold(12)
    owner = successor(world)

    assert world.asked == []
    assert len(owner.ids) == 12 * IDS_PER_DAY
    assert owner.known() == list(range(12 * IDS_PER_DAY))
    assert list(world.folder.iterdir()) == []


def test_it_reads_one_day_after_the_other_and_then_asks_no_more(world: World) -> None:
    Owner(world).fold(12)
    owner = successor(world)
    owner.tend()

    assert [each.until_day for each in world.asked] == list(range(FIRST_DAY, FIRST_DAY + 12))
    assert all(each.above == 11 for each in world.asked[1:])  # so of the day before each nothing is left
    assert sum(len(file) for file in owner.shelf.files) == 12 * IDS_PER_DAY
    world.is_away = True
    assert owner.known() == list(range(12 * IDS_PER_DAY))


def test_a_restart_after_that_takes_files_alone(world: World) -> None:
    Owner(world).fold(12)
    successor(world).tend()
    world.is_away = True

    assert Owner(world, 11).known() == list(range(12 * IDS_PER_DAY))


def test_a_restart_amid_reading_reads_only_the_rest(world: World) -> None:
    Owner(world).fold(12)
    owner = successor(world)
    marker = world.marker(11)
    assert marker is not None
    for _ in range(3):
        owner.shelf.tend(owner.ids, marker)
        owner.thread.finish()
    again = Owner(world, 11)
    world.asked.clear()
    again.tend()

    assert [each.until_day for each in world.asked] == list(range(FIRST_DAY + 3, FIRST_DAY + 12))
    assert again.known() == list(range(12 * IDS_PER_DAY))


def test_what_it_folds_meanwhile_is_known_too_and_goes_to_files_first(world: World) -> None:
    Owner(world).fold(12)
    owner = successor(world)
    marker = world.marker(11)
    assert marker is not None
    owner.shelf.tend(owner.ids, marker)  # the thread has begun with the oldest day
    owner.fold(3)

    assert owner.known() == list(range(15 * IDS_PER_DAY))
    assert Owner(world, 14).known() == list(range(15 * IDS_PER_DAY))


def test_while_the_store_is_away_nothing_is_lost_and_then_it_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    Owner(world).fold(12)
    owner = successor(world)
    marker = world.marker(11)
    assert marker is not None
    owner.shelf.tend(owner.ids, marker)
    world.is_away = True
    owner.thread.finish()
    world.is_away = False
    owner.shelf.tend(owner.ids, marker)

    assert "stay unread for now" in caplog.text
    assert (owner.shelf.files, owner.known()) == ((), list(range(12 * IDS_PER_DAY)))
    owner.tend()
    assert sum(len(file) for file in owner.shelf.files) == 12 * IDS_PER_DAY


def test_a_day_that_expires_while_it_is_read_is_not_known(world: World) -> None:
    Owner(world).fold(12)
    owner = successor(world)
    marker = world.marker(11)
    assert marker is not None
    owner.shelf.tend(owner.ids, marker)
    owner.fold(1, gap=GENERATIONS_KEPT - 10)

    # Day 12 - 10 + 37 is the newest: the first three have gone, the one that was being read among them.
    assert owner.known() == list(range(2 * IDS_PER_DAY, 13 * IDS_PER_DAY))
    assert len(owner.ids) == 11 * IDS_PER_DAY


def test_one_whose_questions_are_never_answered_ends_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    Owner(world).fold(12)
    world.log.append((FIRST_DAY + 12, [(spread(3), 3)]))
    world.folder = world.folder.with_name("elsewhere")
    owner = Owner(world, 11)

    def unanswered(partition: int, stretch: Stretch, asked: Identities) -> Any:
        raise StoreUnavailable("no answer in time")

    monkeypatch.setattr(world, "known", unanswered)
    restarts = 0
    while owner.shelf.unread:
        with pytest.raises(StoreUnavailable):
            world.fold(owner.ids, 12)
        owner.ids = owner.restored()
        restarts += 1

    assert restarts == 11  # a day each, and the last one has room in memory
    assert world.fold(owner.ids, 12)[0] == [Verdict.DUPLICATE]


def test_a_disk_that_fails_once_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "RESTING_TENDS", 3)
    Owner(world).fold(12)
    owner = successor(world)

    def broken(*_: object) -> RunFile:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(shelf, "write", broken)
        owner.tend()
    assert (owner.shelf.files, owner.shelf.unread) == ((), 12 * IDS_PER_DAY)
    for _ in range(4):
        owner.tend()

    assert owner.shelf.unread == 0
    assert owner.known() == list(range(12 * IDS_PER_DAY))


def test_days_that_became_files_one_by_one_are_merged_whatever_their_age(world: World) -> None:
    Owner(world).fold(37)
    owner = successor(world)
    owner.tend()

    assert len(owner.shelf.files) <= 12
    assert all(max(file.counts) - min(file.counts) < 8 for file in owner.shelf.files)
    assert owner.known() == list(range(37 * IDS_PER_DAY))
    assert Owner(world, 36).known() == list(range(37 * IDS_PER_DAY))
