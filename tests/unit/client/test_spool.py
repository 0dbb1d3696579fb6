"""The disk spool: what it took survives whatever ends its process, and nothing else appears."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.client import records, spool
from penstock.client.errors import SpoolDamaged, SpoolFull, SpoolLocked
from penstock.client.spool import BYTES_MAX_AT_LEAST, Spool

FIRST = "0000000000000001"
EVENTS = [b'{"n":1}', b'{"number":22}', b"3"]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two or three of these tests' events fill a segment."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES_MAX", 40)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Spool]:
    store = Spool(folder, BYTES_MAX_AT_LEAST)
    try:
        yield store
    finally:
        store.close()


def killed(store: Spool, folder: Path, to: Path) -> Path:
    """What is on the disk right now, as the next process would find it."""
    shutil.copytree(folder, to)
    return to


def append(store: Spool, *events: bytes) -> None:
    for event in events:
        store.append(event)


def left_in(folder: Path) -> list[bytes]:
    """What the next life would send."""
    with opened(folder) as store:
        events = store.read(1_000, 1_000_000)
        assert store.recovered == len(events)
        return events


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.isdecimal())


def test_events_are_read_in_order_while_more_are_appended(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, *EVENTS)
        first = store.read(2, 1_000)
        append(store, b"4", b"5")

        assert first == EVENTS[:2]
        assert store.read(10, 1_000) == [EVENTS[2], b"4", b"5"]
        assert store.read(10, 1_000) == []


def test_a_batch_is_bounded_by_bytes_but_never_empty(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, b"aaaaa", b"bb", b"cc", b"d")

        assert [store.read(10, 4) for _ in range(3)] == [[b"aaaaa"], [b"bb", b"cc"], [b"d"]]


def test_what_was_taken_survives_a_kill(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as store:
        append(store, *EVENTS)

        assert left_in(killed(store, tmp_path / "spool", tmp_path / "next")) == EVENTS


def test_what_was_answered_is_not_sent_again_and_its_segments_are_gone(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as store:
        append(store, *EVENTS, b"4", b"5", b"6")
        store.read(4, 1_000)
        before = len(segments(tmp_path / "spool"))
        store.settle(4)

        assert len(segments(tmp_path / "spool")) < before
        assert left_in(killed(store, tmp_path / "spool", tmp_path / "next")) == [b"5", b"6"]


def test_losing_the_note_of_what_was_answered_only_sends_more(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as store:
        append(store, *EVENTS)
        store.read(1, 1_000)
        store.settle(1)
        copy = killed(store, tmp_path / "spool", tmp_path / "next")
    (copy / "acknowledged").write_bytes(b"torn")

    assert left_in(copy) == EVENTS


def test_a_spool_whose_events_are_all_answered_leaves_no_segment(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, *EVENTS)
        store.read(3, 1_000)
        store.settle(3)

    assert segments(tmp_path) == []
    assert left_in(tmp_path) == []


def test_a_note_of_an_earlier_segment_never_hides_a_later_one(tmp_path: Path) -> None:
    for n in range(3):
        with opened(tmp_path) as store:
            append(store, b"%d" % n)
            assert store.read(2, 1_000) == [b"%d" % n]
            store.settle(1)
    with opened(tmp_path) as store:
        append(store, b"unanswered")

    assert left_in(tmp_path) == [b"unanswered"]


def test_a_life_goes_on_behind_what_the_last_one_left(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, *EVENTS)
    with opened(tmp_path) as store:
        append(store, b"4")
        assert store.recovered == 3
        assert store.read(2, 1_000) == EVENTS[:2]
        store.settle(2)
    with opened(tmp_path) as store:
        assert store.recovered == 2
        assert store.read(9, 1_000) == [EVENTS[2], b"4"]


@pytest.fixture
def torn_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, bytes]:
    """A spool of one segment with three events: its folder and the segment's bytes."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES_MAX", 1_000)
    with opened(tmp_path / "spool") as store:
        append(store, *EVENTS)
    return tmp_path / "spool", (tmp_path / "spool" / FIRST).read_bytes()


def test_a_segment_that_ends_anywhere_gives_its_whole_records(torn_off: tuple[Path, bytes]) -> None:
    folder, whole = torn_off
    ends = [len(records.MAGIC)]
    for event in EVENTS:
        ends.append(ends[-1] + records.HEADER.size + len(event))
    for length in range(len(whole) + 1):
        (folder / FIRST).write_bytes(whole[:length])
        expected = EVENTS[: sum(end <= length for end in ends[1:])]

        assert left_in(folder) == expected
        assert left_in(folder) == expected  # the tail was cut, so that the next life finds no damage either


def test_no_damaged_byte_makes_another_event(torn_off: tuple[Path, bytes]) -> None:
    folder, whole = torn_off
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        (folder / FIRST).write_bytes(damaged)
        found = left_in(folder)

        assert found == EVENTS[: len(found)]
        assert len(found) < 3


def test_a_tail_of_zeros_as_a_power_cut_leaves_it_is_cut(torn_off: tuple[Path, bytes]) -> None:
    folder, whole = torn_off
    (folder / FIRST).write_bytes(whole + bytes(4_096))

    assert left_in(folder) == EVENTS
    assert (folder / FIRST).read_bytes() == whole


def test_damage_before_the_last_segment_is_told_and_never_skipped(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, *EVENTS * 3)
    segment = tmp_path / FIRST
    segment.write_bytes(segment.read_bytes()[:-1])

    with pytest.raises(SpoolDamaged, match=f"{FIRST} is damaged at byte"):
        Spool(tmp_path, BYTES_MAX_AT_LEAST)


def test_answered_records_that_are_missing_are_damage(torn_off: tuple[Path, bytes]) -> None:
    folder, whole = torn_off
    with opened(folder) as store:
        store.read(2, 1_000)
        store.settle(2)
    (folder / FIRST).write_bytes(whole[: len(records.MAGIC)])

    with pytest.raises(SpoolDamaged):
        Spool(folder, BYTES_MAX_AT_LEAST)
    (folder / FIRST).unlink()
    assert left_in(folder) == []  # it holds neither the lock nor a file


def test_a_spool_has_one_client(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(SpoolLocked, match="another client has the spool"):
        Spool(tmp_path, BYTES_MAX_AT_LEAST)


def test_a_spool_is_bounded_and_has_room_again_when_segments_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES_MAX", 2**20)
    with opened(tmp_path) as store:
        event = b"a" * 500_000
        while store.has_room(len(event)):
            store.append(event)
        taken = store.read(1_000, 10**9)
        on_disk = sum(path.stat().st_size for path in tmp_path.iterdir())

        assert BYTES_MAX_AT_LEAST - len(event) - 100 <= on_disk <= BYTES_MAX_AT_LEAST
        store.settle(len(taken))
        assert store.has_room(len(event))


def test_a_spool_too_small_for_its_events_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"at least {BYTES_MAX_AT_LEAST} bytes"):
        Spool(tmp_path, BYTES_MAX_AT_LEAST - 1)


def test_a_full_disk_takes_all_of_an_event_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        append(store, b"1")
        write = os.pwrite

        def full(file: int, data: bytes, at: int) -> int:
            if len(data) < 3:
                raise OSError(28, "No space left on device")
            return write(file, data[: len(data) - 2], at)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(SpoolFull, match="No space left"):
            store.append(b"2")
        monkeypatch.setattr(os, "pwrite", write)
        append(store, b"3")

        assert left_in(killed(store, tmp_path, tmp_path.with_name("next"))) == [b"1", b"3"]


def test_a_new_segment_on_a_full_disk_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _data: bytes, _at: int) -> int:
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(SpoolFull):
                store.append(b"1")
        assert segments(tmp_path) == []
        append(store, b"2")

        assert store.read(9, 1_000) == [b"2"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("read"), st.integers(1, 5)),
        st.tuples(st.just("settle"), st.integers(0, 5)),
        st.tuples(st.sampled_from(["kill", "close"]), st.none()),
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_a_spool_is_a_queue_that_outlives_its_processes(steps: list[tuple[str, object]]) -> None:
    """Against a list: what was appended and not settled comes back after every end, in order, once."""
    with TemporaryDirectory() as root:
        folder = Path(root) / "0"
        store, kept, read, settled = Spool(folder, BYTES_MAX_AT_LEAST), list[bytes](), 0, 0
        for number, (step, value) in enumerate(steps, 1):
            if step == "append":
                assert isinstance(value, bytes)
                store.append(value)
                kept.append(value)
            elif step == "read":
                assert isinstance(value, int)
                assert store.read(value, 1_000) == kept[read : read + value]
                read = min(read + value, len(kept))
            elif step == "settle":
                assert isinstance(value, int)
                if settled < (settled := min(settled + value, read)):
                    store.settle(settled)
            else:
                if step == "kill":
                    folder = killed(store, folder, Path(root) / str(number))
                store.close()
                store = Spool(folder, BYTES_MAX_AT_LEAST)
                kept, read, settled = kept[settled:], 0, 0
                assert store.recovered == len(kept)
        assert store.read(1_000, 10_000) == kept[read:]
        store.close()
