"""`penstock clickhouse-dev` as clickhouse-connect's own client sees it, and as one who starts and stops it does."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import clickhouse_connect
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from deploy.dev.clickhouse import ClickHouseDev

from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.store.connect import server
from penstock.app.cli import main
from penstock.kernel.problems import StoreUnavailable

TABLE = "CREATE TABLE {} (id UInt64, name LowCardinality(String), price Decimal(76, 12)) ENGINE = MergeTree ORDER BY id"
WIDE = Decimal("9" * 30 + "." + "1" * 12)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseDev]:
    with ClickHouseDev(tmp_path_factory.mktemp("front") / "data") as started:
        yield started


@contextmanager
def a_client(front: ClickHouseDev, **options: Any) -> Iterator[Any]:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=front.port, **options)
    with closing(client):
        yield client


@contextmanager
def a_table(client: Any, name: str) -> Iterator[str]:
    client.command(TABLE.format(name))
    yield name
    client.command(f"DROP TABLE {name}")


def test_the_client_shakes_hands_and_pings(front: ClickHouseDev) -> None:
    with a_client(front) as client:
        assert client.ping()
        assert client.server_version == client.command("SELECT version()")
        assert client.server_settings["final"].value == "0"


def test_rows_go_in_as_native_and_as_arrow_and_come_out_as_both(front: ClickHouseDev) -> None:
    with a_client(front) as client, a_table(client, "forms") as table:
        native = client.insert(table, [[1, "a", WIDE], [2, "b", -WIDE]], ["id", "name", "price"])
        arrow = client.insert_arrow(table, pa.table({"id": pa.array([3], pa.uint64()), "name": ["c"]}))
        rows = client.query(f"SELECT * FROM {table} ORDER BY id")
        ids = client.query_arrow(f"SELECT id FROM {table} ORDER BY id").column("id").to_pylist()

    assert (native.written_rows, arrow.written_rows) == (2, 1)
    assert rows.column_names == ("id", "name", "price")
    assert rows.result_rows == [(1, "a", WIDE), (2, "b", -WIDE), (3, "c", Decimal(0))]
    assert (ids, rows.summary["read_rows"], rows.summary["result_rows"]) == ([1, 2, 3], "3", "3")


def test_an_insert_may_bring_its_rows_in_the_body_as_any_text(front: ClickHouseDev) -> None:
    with a_client(front) as client, a_table(client, "texts") as table:
        client.raw_insert(table, ["id", "name"], '{"id": 7, "name": "SELECT"}\n', fmt="JSONEachRow")
        client.command(f"INSERT INTO {table} (id, name) VALUES (8, 'x FORMAT y')")
        client.command(f"INSERT INTO {table} SELECT id + 2, name, price FROM {table}")
        rows = client.query(f"SELECT id, name FROM {table} ORDER BY id").result_rows

    assert rows == [(7, "SELECT"), (8, "x FORMAT y"), (9, "SELECT"), (10, "x FORMAT y")]


def test_a_query_takes_parameters_even_those_too_long_for_a_url(front: ClickHouseDev) -> None:
    asked = {"text": "it's\n\\a\ttext ü", "many": list(range(50_000))}

    with a_client(front) as client:
        short = client.query("SELECT {text:String} AS text", parameters=asked).result_rows
        long = client.query("SELECT length({many:Array(UInt64)}), {text:String}", parameters=asked).result_rows

    assert short == [(asked["text"],)]
    assert long == [(50_000, asked["text"])]


def test_a_setting_holds_for_its_own_query_only(front: ClickHouseDev) -> None:
    asked = "SELECT getSetting('max_block_size')"

    with a_client(front, settings={"max_block_size": 77}, autogenerate_session_id=False) as client:
        assert client.query(asked, settings={"max_block_size": 55}).result_rows == [(55,)]
        client.command("SET max_block_size = 33")
        assert client.query(asked).result_rows == [(77,)]


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_bodies_are_compressed_both_ways(front: ClickHouseDev, compress: str | bool) -> None:
    rows = [[n, "name" * 20, Decimal(n)] for n in range(20_000)]

    with a_client(front, compress=compress) as client, a_table(client, f"packed_{compress or 'not'}") as table:
        client.insert(table, rows, ["id", "name", "price"])
        with client.raw_stream(
            f"SELECT * FROM {table}",
            settings={"enable_http_compression": 1},
            transport_settings={"Accept-Encoding": compress or "identity"},
        ) as answer:
            encoding = answer.headers.get("content-encoding")
        back = client.query(f"SELECT * FROM {table} ORDER BY id").result_rows
        count = client.query_arrow(f"SELECT * FROM {table}").num_rows

    assert encoding == (compress or None)
    assert back == [tuple(row) for row in rows]
    assert count == len(rows)


@pytest.mark.parametrize(
    ("statement", "code", "name"),
    [
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE"),
        ("SELECT nothing", 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
def test_an_error_comes_as_clickhouse_sends_it(front: ClickHouseDev, statement: str, code: int, name: str) -> None:
    with a_client(front) as client, pytest.raises(DatabaseError, match=f"Code: {code}. DB::Exception:") as caught:
        client.command(statement)

    assert (caught.value.code, caught.value.name) == (code, name)


def test_an_insert_that_cannot_be_read_leaves_nothing_behind(front: ClickHouseDev) -> None:
    with a_client(front) as client, a_table(client, "broken") as table:
        with pytest.raises(DatabaseError) as caught:
            client.raw_insert(table, ["id"], '{"id": 1}\n{"id": "x"}\n', fmt="JSONEachRow")
        count = client.command(f"SELECT count() FROM {table}")

    assert (caught.value.code, count) == (27, 0)


def get(front: ClickHouseDev, path: str, body: bytes = b"", encoding: str = "") -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)) as connection:
        connection.request("GET", path, body, {"Content-Encoding": encoding})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_a_get_reads_and_says_what_it_did(front: ClickHouseDev) -> None:
    status, headers, body = get(front, "/?query=SELECT+1+AS+x+FORMAT+JSON&query_id=mine")
    refused, told, _ = get(front, "/?query=CREATE+DATABASE+other")

    assert (status, json.loads(body)["data"]) == (200, [{"x": 1}])
    assert (headers["x-clickhouse-format"], headers["x-clickhouse-query-id"]) == ("JSON", "mine")
    assert json.loads(headers["x-clickhouse-summary"])["result_rows"] == "1"
    assert (refused, told["x-clickhouse-exception-code"]) == (500, "164")
    assert get(front, "/?query=SELECT+1&default_format=CSV")[2] == b"1\n"
    assert get(front, "/ping")[2] == get(front, "/")[2] == b"Ok.\n"
    assert get(front, "/play")[0] == 404


def test_what_the_front_does_not_do_is_refused_by_name(front: ClickHouseDev) -> None:
    answers = [
        get(front, "/?query=SELECT+1&compress=1"),
        get(front, "/", b"SELECT 1", encoding="deflate"),
        get(front, "/", b"SELECT 1", encoding="zstd"),
    ]

    codes = [(status, headers["x-clickhouse-exception-code"]) for status, headers, _ in answers]
    assert codes == [(501, "48"), (500, "89"), (400, "117")]


def test_clients_work_at_the_same_time(front: ClickHouseDev) -> None:
    def insert_and_count(number: int) -> tuple[int, int]:
        with a_client(front, settings={"max_block_size": 100 + number}) as client:
            for row in range(10):
                client.insert("shared", [[number * 10 + row, "n", 0]], ["id", "name", "price"])
            own = client.command(f"SELECT count() FROM shared WHERE intDiv(id, 10) = {number}")
            return own, client.command("SELECT getSetting('max_block_size')")

    with a_client(front) as client, a_table(client, "shared"), ThreadPoolExecutor(8) as threads:
        found = list(threads.map(insert_and_count, range(8)))
        total = client.command("SELECT uniqExact(id) FROM shared")

    assert (found, total) == ([(10, 100 + number) for number in range(8)], 80)


def test_everything_is_there_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    with ClickHouseDev(tmp_path / "data") as front:
        for end, count in ((front.stop, 1), (front.kill, 2)):
            with a_client(front) as client:
                client.command(TABLE.format("IF NOT EXISTS kept"))
                client.insert("kept", [[count, "a", 0]], ["id", "name", "price"])
            end()
            front.start()
            with a_client(front) as client:
                assert client.command("SELECT count() FROM kept") == count


def test_sigterm_lets_a_statement_end(tmp_path: Path) -> None:
    slow = "SELECT sum(sleepEachRow(0.1)) FROM numbers(20) SETTINGS max_block_size = 1"
    running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(0.1)%' AND query NOT LIKE '%LIKE%'"
    with ExitStack() as held:
        front = held.enter_context(ClickHouseDev(tmp_path / "data"))
        client, other = (held.enter_context(a_client(front)) for _ in range(2))
        asked = held.enter_context(ThreadPoolExecutor(1)).submit(client.command, slow)
        while not other.command(running):
            assert not asked.done()
        front.stop()

        assert asked.result() == 0


def test_a_folder_or_a_port_in_use_is_refused(
    front: ClickHouseDev, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ClickHouseDev(tmp_path / "data") as other:
        other.stop()
        assert main(["clickhouse-dev", "--port", str(other.port), "--data-dir", str(front.data_dir)]) == 1
        assert f"{front.data_dir} is in use by another process" in capsys.readouterr().err
        assert main(["clickhouse-dev", "--port", str(front.port), "--data-dir", str(other.data_dir)]) == 1
        assert "Address already in use" in capsys.readouterr().err


class Failing(BaseHTTPRequestHandler):
    """Answers every request with the status that its server was given."""

    def do_POST(self) -> None:
        self.send_error(self.server.status)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def failing(port: int, status: int) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", port), Failing) as at_work:
        at_work.status = status  # type: ignore[attr-defined]
        thread = threading.Thread(target=at_work.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            at_work.shutdown()
            thread.join()


def test_a_store_says_unavailable_while_its_server_is_and_goes_on_afterwards(tmp_path: Path) -> None:
    with ExitStack() as held:
        front = held.enter_context(ClickHouseDev(tmp_path / "data"))
        store = held.enter_context(closing(ClickHouseUsageStore(server(front.url, "usage", answer_timeout_s=1))))
        assert store.markers() == {}

        front.pause()
        with pytest.raises(StoreUnavailable):
            store.markers()
        front.resume()
        assert store.markers() == {}

        front.kill()
        with pytest.raises(StoreUnavailable):
            store.markers()
        for status in (500, 502, 503):
            with failing(front.port, status), pytest.raises(StoreUnavailable):
                store.markers()
        front.start()
        assert store.markers() == {}
