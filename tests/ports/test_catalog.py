"""What every `Catalog` promises. An adapter that passes is as good as another."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from penstock.catalog import sqlite
from penstock.catalog.memory import MemoryCatalog
from penstock.catalog.postgres import PostgresCatalog
from penstock.catalog.sqlite import SqliteCatalog
from penstock.database.sqlite import TooNew
from penstock.kernel.ports.catalog import Catalog, Item
from penstock.kernel.problems import Conflict, StoreUnavailable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 13, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    adapter: Catalog
    match request.param:
        case "memory":
            adapter = MemoryCatalog()
        case "sqlite":
            adapter = SqliteCatalog(tmp_path / "catalog.sqlite")
        case _:
            adapter = PostgresCatalog(request.getfixturevalue("postgres_database"))
    yield adapter
    adapter.close()


def an_item(
    id: str = "c1",
    *,
    tenant: str = "acme",
    kind: str = "customer",
    body: bytes = b"{}",
    parent: str | None = None,
    unique: tuple[str, ...] = (),
) -> Item:
    return Item(tenant=tenant, kind=kind, id=id, body=body, parent=parent, unique=unique)


def ids(items: Sequence[Item]) -> list[str]:
    return [item.id for item in items]


def test_a_put_item_is_read_back_with_revision_sequence_and_instant(catalog: Catalog) -> None:
    [stored] = catalog.put([an_item(body=b'{"name":"\xc3\x84"}', parent="p", unique=("a", "b"))], NOON)

    assert stored == Item("acme", "customer", "c1", b'{"name":"\xc3\x84"}', "p", ("a", "b"), 1, 1, NOON)
    assert catalog.get("acme", "customer", "c1") == stored
    assert catalog.list("acme", "customer") == [stored]


def test_what_was_never_put_is_none(catalog: Catalog) -> None:
    catalog.put([an_item()], NOON)

    assert catalog.get("acme", "customer", "c2") is None
    assert catalog.get("acme", "contract", "c1") is None
    assert catalog.find("acme", "customer", "c1") is None
    assert catalog.list("acme", "contract") == []
    assert catalog.put([], NOON) == []


def test_an_instant_keeps_its_microseconds_and_is_utc(catalog: Catalog) -> None:
    recorded_at = datetime(2026, 3, 1, 17, 45, 0, 123_457, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    catalog.put([an_item()], recorded_at)

    item = catalog.get("acme", "customer", "c1")

    assert item is not None
    assert item.recorded_at is not None
    assert item.recorded_at.isoformat() == "2026-03-01T12:00:00.123457+00:00"


def test_pages_follow_the_sequence_across_revisions(catalog: Catalog) -> None:
    stored = catalog.put([an_item(f"c{n}") for n in range(5)], NOON)
    catalog.put([msgspec.structs.replace(stored[0], body=b"changed")], LATER)
    catalog.put([an_item("c5")], LATER)

    seen: list[Item] = []
    for _ in itertools.count():
        page = catalog.list("acme", "customer", after=seen[-1].sequence if seen else 0, limit=2)
        if not page:
            break
        seen += page

    assert ids(seen) == ["c0", "c1", "c2", "c3", "c4", "c5"]
    assert (seen[0].body, seen[0].revision, seen[0].sequence) == (b"changed", 2, stored[0].sequence)


def test_a_parent_groups_items_and_the_latest_revision_says_which(catalog: Catalog) -> None:
    stored = catalog.put([an_item("r1", parent="card1"), an_item("r2", parent="card2"), an_item("r3")], NOON)
    catalog.put([msgspec.structs.replace(stored[1], parent="card1")], LATER)

    assert ids(catalog.list("acme", "customer", parent="card1")) == ["r1", "r2"]
    assert ids(catalog.list("acme", "customer", parent="card1", after=stored[0].sequence)) == ["r2"]
    assert catalog.list("acme", "customer", parent="card2") == []
    assert ids(catalog.list("acme", "customer")) == ["r1", "r2", "r3"]


def test_as_of_reads_the_revision_that_was_recorded_by_then(catalog: Catalog) -> None:
    [first] = catalog.put([an_item(body=b"first", parent="p", unique=("old",))], NOON)
    [second] = catalog.put([msgspec.structs.replace(first, body=b"second", parent="q", unique=("new",))], LATER)

    assert catalog.get("acme", "customer", "c1", NOON - timedelta(microseconds=1)) is None
    assert catalog.get("acme", "customer", "c1", NOON) == first
    assert catalog.get("acme", "customer", "c1", LATER - timedelta(microseconds=1)) == first
    assert catalog.get("acme", "customer", "c1", LATER) == second
    assert catalog.get("acme", "customer", "c1") == second
    assert (first.parent, first.unique, second.revision, second.recorded_at) == ("p", ("old",), 2, LATER)


def test_a_new_item_whose_id_exists_is_a_conflict(catalog: Catalog) -> None:
    [stored] = catalog.put([an_item(body=b"first")], NOON)

    with pytest.raises(Conflict, match="c1"):
        catalog.put([an_item(body=b"second")], LATER)
    with pytest.raises(Conflict, match="c2"):
        catalog.put([an_item("c2"), an_item("c2")], LATER)

    assert catalog.list("acme", "customer") == [stored]


def test_a_stale_revision_is_a_conflict(catalog: Catalog) -> None:
    [read] = catalog.put([an_item(body=b"first")], NOON)
    [changed] = catalog.put([msgspec.structs.replace(read, body=b"second")], NOON)

    with pytest.raises(Conflict, match="c1"):
        catalog.put([msgspec.structs.replace(read, body=b"third")], LATER)

    assert catalog.get("acme", "customer", "c1") == changed


def test_a_revision_of_what_was_never_put_is_a_conflict(catalog: Catalog) -> None:
    with pytest.raises(Conflict, match="c9"):
        catalog.put([msgspec.structs.replace(an_item("c9"), revision=1)], NOON)


def test_a_unique_key_has_one_holder(catalog: Catalog) -> None:
    [holder] = catalog.put([an_item("c1", unique=("alias",))], NOON)

    with pytest.raises(Conflict, match="alias"):
        catalog.put([an_item("c2", unique=("alias",))], NOON)

    assert catalog.find("acme", "customer", "alias") == holder
    assert catalog.get("acme", "customer", "c2") is None


def test_a_unique_key_binds_one_kind_of_one_tenant(catalog: Catalog) -> None:
    stored = catalog.put(
        [
            an_item(unique=("alias",)),
            an_item(kind="contract", unique=("alias",)),
            an_item(tenant="other", unique=("alias",)),
        ],
        NOON,
    )

    assert catalog.find("acme", "customer", "alias") == stored[0]
    assert catalog.find("acme", "contract", "alias") == stored[1]
    assert catalog.find("other", "customer", "alias") == stored[2]


def test_an_item_keeps_or_gives_up_its_unique_keys_with_each_revision(catalog: Catalog) -> None:
    [first] = catalog.put([an_item("c1", unique=("a", "b"))], NOON)
    [second] = catalog.put([msgspec.structs.replace(first, unique=("b", "c"))], LATER)
    [other] = catalog.put([an_item("c2", unique=("a",))], LATER)

    assert catalog.find("acme", "customer", "a") == other
    assert catalog.find("acme", "customer", "b") == second
    assert catalog.find("acme", "customer", "c") == second
    with pytest.raises(Conflict, match="'b'"):
        catalog.put([msgspec.structs.replace(other, unique=("a", "b"))], LATER)


@pytest.mark.parametrize("text", ["", " ", "\0", "a\0b", "\x1a", "\x1a0\0\x1a1", "'%s\\", "{a,NULL}", "\u00e4"])
def test_any_text_is_an_id_a_parent_and_a_key(catalog: Catalog, text: str) -> None:
    [stored, _] = catalog.put([an_item(text, parent=text, unique=(text,)), an_item("other")], NOON)

    assert catalog.get("acme", "customer", text) == stored
    assert catalog.find("acme", "customer", text) == stored
    assert catalog.list("acme", "customer", parent=text) == [stored]


def test_a_unique_key_named_twice_by_one_item_is_one_key(catalog: Catalog) -> None:
    [stored] = catalog.put([an_item(unique=("a", "a"))], NOON)

    assert catalog.find("acme", "customer", "a") == stored


def test_a_unique_key_is_handed_over_in_one_call(catalog: Catalog) -> None:
    one, two = catalog.put([an_item("c1", unique=("alias",)), an_item("c2")], NOON)
    give, take = msgspec.structs.replace(one, unique=()), msgspec.structs.replace(two, unique=("alias",))

    with pytest.raises(Conflict, match="alias"):
        catalog.put([take, give], LATER)  # it is not free yet when it is taken
    assert catalog.find("acme", "customer", "alias") == one

    [_, taken] = catalog.put([give, take], LATER)
    assert catalog.find("acme", "customer", "alias") == taken


def test_a_put_is_all_or_none(catalog: Catalog) -> None:
    [known] = catalog.put([an_item("c1", unique=("mine",))], NOON)

    with pytest.raises(Conflict):
        catalog.put(
            [msgspec.structs.replace(known, unique=()), an_item("c2", unique=("new",)), an_item("c1")],
            LATER,
        )

    assert catalog.list("acme", "customer") == [known]
    assert catalog.find("acme", "customer", "mine") == known
    assert catalog.find("acme", "customer", "new") is None


def test_tenants_cannot_see_each_other(catalog: Catalog) -> None:
    mine, theirs = catalog.put([an_item(tenant="acme", unique=("a",)), an_item(tenant="other", unique=("o",))], NOON)

    assert catalog.get("acme", "customer", "c1") == mine
    assert catalog.get("other", "customer", "c1") == theirs
    assert catalog.find("acme", "customer", "o") is None
    assert catalog.list("acme", "customer") == [mine]
    assert catalog.list("nobody", "customer") == []
    assert catalog.list(None, "customer") == [mine, theirs]


def test_eight_threads_putting_at_once_lose_nothing(catalog: Catalog) -> None:
    def put(thread: int) -> None:
        for n in range(25):
            [stored] = catalog.put([an_item(f"{thread}-{n}", unique=(f"key-{thread}-{n}",))], NOON)
            catalog.put([msgspec.structs.replace(stored, body=b"twice")], LATER)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(8)))

    items = catalog.list("acme", "customer")
    assert sorted(ids(items)) == sorted(f"{thread}-{n}" for thread in range(8) for n in range(25))
    assert {(item.revision, item.body) for item in items} == {(2, b"twice")}
    assert len({item.sequence for item in items}) == 200
    assert all(catalog.find("acme", "customer", f"key-{item.id}") == item for item in items)


def test_of_eight_threads_that_change_one_revision_one_wins(catalog: Catalog) -> None:
    [read] = catalog.put([an_item()], NOON)

    def put(thread: int) -> bool:
        try:
            catalog.put([msgspec.structs.replace(read, body=str(thread).encode())], LATER)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, range(8)))

    assert sum(won) == 1
    item = catalog.get("acme", "customer", "c1")
    assert item is not None
    assert (item.revision, item.body) == (2, str(won.index(True)).encode())


def test_a_reopened_file_has_everything(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog = SqliteCatalog(path)
    [first] = catalog.put([an_item(body=b"first", unique=("a",))], NOON)
    [second] = catalog.put([msgspec.structs.replace(first, body=b"second", unique=("b",))], LATER)
    catalog.close()
    catalog.close()

    again = SqliteCatalog(path)

    assert again.get("acme", "customer", "c1", NOON) == first
    assert again.find("acme", "customer", "b") == second
    assert again.find("acme", "customer", "a") is None
    [next_one] = again.put([an_item("c2")], LATER)
    assert next_one.sequence > second.sequence
    again.close()


def test_the_file_is_durable_and_strict(tmp_path: Path) -> None:
    catalog = SqliteCatalog(tmp_path / "catalog.sqlite")
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "user_version")

    values = [catalog._file._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    loose = catalog._file._connection.execute(
        "SELECT name FROM pragma_table_list WHERE type = 'table' AND schema = 'main' AND NOT strict"
    ).fetchall()

    assert values == ["wal", 2, 1, len(sqlite.MIGRATIONS)]
    assert loose == [("sqlite_schema",)]
    catalog.close()


def test_a_file_of_an_older_version_is_migrated_and_keeps_its_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.sqlite"
    old = SqliteCatalog(path)
    [stored] = old.put([an_item()], NOON)
    old.close()
    added = "CREATE TABLE added (at INTEGER) STRICT; INSERT INTO added VALUES (7)"
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, added))

    for _ in range(2):  # the second opening has nothing to do
        new = SqliteCatalog(path)
        assert new.get("acme", "customer", "c1") == stored
        assert new._file._connection.execute("SELECT at FROM added").fetchall() == [(7,)]
        new.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "catalog.sqlite"
    SqliteCatalog(path).close()
    with monkeypatch.context() as broken:
        broken.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, "CREATE TABLE half (at INTEGER) STRICT; nonsense"))
        with pytest.raises(sqlite3.OperationalError, match="nonsense"):
            SqliteCatalog(path)

    catalog = SqliteCatalog(path)

    assert catalog._file._connection.execute("SELECT name FROM sqlite_schema WHERE name = 'half'").fetchall() == []
    catalog.close()


def test_a_file_of_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog = SqliteCatalog(path)
    catalog._file._connection.execute("PRAGMA user_version = 99")
    catalog.close()

    with pytest.raises(TooNew, match=r"catalog\.sqlite has catalog version 99"):
        SqliteCatalog(path)


def test_a_disk_that_refuses_is_a_problem_and_nothing_is_half_written(tmp_path: Path) -> None:
    catalog = SqliteCatalog(tmp_path / "catalog.sqlite")
    [stored] = catalog.put([an_item()], NOON)
    catalog._file._connection.execute("PRAGMA query_only = ON")

    with pytest.raises(StoreUnavailable, match="catalog"):
        catalog.put([an_item("c2")], NOON)

    catalog._file._connection.execute("PRAGMA query_only = OFF")
    assert catalog.list("acme", "customer") == [stored]
    catalog.close()
