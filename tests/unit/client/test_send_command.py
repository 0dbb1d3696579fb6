"""`penstock send`: what it sends, what it says, and its exit code."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from penstock.app.cli import main
from penstock.app.progress import Progress, bar
from penstock.client.tally import Stats
from unit.client.fake_server import API_KEY, DROP, Act, FakeServer, a_problem

TIME = "2026-01-31T11:00:00Z"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_URL", raising=False)
    monkeypatch.setenv("PENSTOCK_API_KEY", API_KEY)


def a_file(folder: Path, count: int, name: str = "usage.ndjson") -> Path:
    path = folder / name
    row = {"customer_id": "acme", "event_type": "call", "timestamp": TIME}
    path.write_text("".join(json.dumps(row | {"properties": {"n": n}}) + "\n" for n in range(count)))
    return path


def send(server: FakeServer, *arguments: str | Path) -> int:
    return main(["send", "--url", server.url, *map(str, arguments)])


def test_a_file_is_sent_and_sending_it_again_counts_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = a_file(tmp_path, 25)
    with FakeServer(DROP) as server:
        assert send(server, path, "--batch-events", "10") == 0
        assert send(server, path) == 0

    assert sorted(server.seen) == sorted(f"usage.ndjson:{line}" for line in range(1, 26))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("25 events answered in ")
    assert first.endswith(": accepted 25, duplicate 0, conflict 0, rejected 0; bad rows 0")
    assert second.endswith(": accepted 0, duplicate 25, conflict 0, rejected 0; bad rows 0")


def test_csv_numbers_are_sent_as_text_exactly_as_written(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    path.write_text(f"timestamp,tokens,cost\n{TIME},1500,0.1000000000000000055\n")
    with FakeServer() as server:
        assert send(server, path, "--customer-id", "acme", "--event-type", "call", "--transaction-prefix", "may") == 0

    assert list(server.seen.values()) == [
        {
            "transaction_id": "may:2",
            "customer_id": "acme",
            "event_type": "call",
            "timestamp": TIME,
            "properties": {"tokens": "1500", "cost": "0.1000000000000000055"},
        }
    ]


def test_the_standard_input_is_sent_with_the_address_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(a_file(tmp_path, 3).read_bytes())))
    with FakeServer() as server:
        monkeypatch.setenv("PENSTOCK_URL", server.url)

        assert main(["send", "-", "--transaction-prefix", "today"]) == 0
    assert sorted(server.seen) == ["today:1", "today:2", "today:3"]

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(a_file(tmp_path, 1).read_bytes())))
    assert main(["send", "-"]) == 1
    assert capsys.readouterr().err == "-:1: the row has no transaction_id\n"


def test_rows_that_were_not_counted_are_told_by_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "usage.csv"
    rows = ["good,acme,call", "", "no-customer,-,call,surplus", ",globex,call", "good,globex,call", "last,acme,call"]
    header = "transaction_id,customer_id,event_type,timestamp\n"
    path.write_text(header + "".join(f"{row},{TIME}\n" if row else "\n" for row in rows))
    refusing = tmp_path / "refusing.ndjson"
    refusing.write_text('\n{"transaction_id":"x","customer_id":" ","event_type":"e","timestamp":"t"}\n')
    with FakeServer() as server:
        assert send(server, path) == 1
        server._judge = lambda event: "rejected"  # type: ignore[method-assign]  # a server that rejects everything
        assert send(server, refusing) == 1

    assert sorted(server.seen) == ["good", "last", "usage.csv:5"]
    said = capsys.readouterr()
    assert said.out.splitlines()[0].endswith(": accepted 3, duplicate 0, conflict 1, rejected 0; bad rows 1")
    assert said.err.splitlines() == [
        f"{path}:4: the row has 5 cells, the header 4",
        f"{path}:6: conflict: because conflict (transaction_id good)",
        f"{refusing}:2: rejected: because rejected (transaction_id x)",
    ]


def test_many_complaints_are_counted_rather_than_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "usage.ndjson"
    path.write_text("{\n" * 150)
    with FakeServer() as server:
        assert send(server, path) == 1

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 101
    assert said[-1] == "... and 50 more rows that were not counted"


def test_an_empty_file_is_sent(tmp_path: Path) -> None:
    with FakeServer() as server:
        assert send(server, a_file(tmp_path, 0)) == 0


def test_a_wrong_key_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(Act(401, body=a_problem("unauthorized", "no such key"))) as server:
        assert send(server, a_file(tmp_path, 2)) == 1

    assert capsys.readouterr().err == (
        "penstock send: the server answers 401: no such key; 2 events were not acknowledged; send the file again\n"
    )


def test_a_server_that_is_away_is_given_up_after_the_time_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.app.progress.AS_LINES_EVERY_S", 0)
    path, spool = a_file(tmp_path, 1), tmp_path / "spool"
    assert main(["send", "--url", NOBODY, "--give-up-s", "0", "--spool", str(spool), str(path)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "penstock send: no answer for 0 s; 1 events stay in the spool; send the file again for the rest"

    path.write_text("")
    with FakeServer() as server:
        assert send(server, path, "--spool", spool) == 0
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["missing.ndjson"], "No such file or directory: 'missing.ndjson'"),
        (["usage.txt"], "usage.txt: the suffix tells no format; give --format ndjson or --format csv"),
        (["-", "--url", "ftp://host"], "the server's address must be like"),
        (["-", "--batch-events", "0"], "batch_events_max must be from 1 to 10000"),
        (["-", "--transaction-prefix", "p" * 101], "the transaction prefix has 101 characters, at most 100"),
        (["-", "--api-key", "\u00e9"], "the API key is empty or holds characters that no key has"),
    ],
)
def test_a_usage_error_exits_2(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_a_key_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PENSTOCK_API_KEY")

    assert main(["send", "-"]) == 2
    assert capsys.readouterr().err == "penstock send: no API key: set PENSTOCK_API_KEY, or give --api-key\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def some_stats(last_error: str | None = None) -> Stats:
    return Stats(
        sent=1_500, recovered=0, accepted=1_200, duplicates=0, conflicts=0, rejected=34, pending=266, retries=1,
        last_error=last_error,
    )  # fmt: skip


def test_a_terminal_gets_a_bar_that_lines_do_not_overwrite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 24)))
    terminal = Terminal()
    progress = Progress(terminal, 200)
    progress.show(some_stats(), 50)
    progress.say("usage.csv:7: bad")

    bar_shown, line = terminal.getvalue().removeprefix("\r\x1b[K").split("\r\x1b[K")
    assert bar_shown.startswith("[######                  ]  25 %  1,234 events  ")
    assert len(bar_shown) == 59
    assert line == "usage.csv:7: bad\n"


def test_elsewhere_progress_is_plain_lines_with_what_keeps_it() -> None:
    stream = io.StringIO()
    Progress(stream, None).show(some_stats("the server answers 503: down"), None)

    assert stream.getvalue().startswith("1,234 events  ")
    assert stream.getvalue().endswith(
        "accepted 1,200, duplicate 0, conflict 0, rejected 34  waiting 266  retrying: the server answers 503: down\n"
    )


@pytest.mark.parametrize(("done", "share"), [(0, "  0"), (1, "  0"), (199, " 99"), (200, "100"), (300, "100")])
def test_a_bar_is_never_over_full(done: int, share: str) -> None:
    assert bar(done, 200).endswith(f"] {share} %")
    assert len(bar(done, 200)) == 32
