"""The client against a local server that misbehaves: everything arrives, once, and everything is told."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from penstock.client.backoff import Backoff
from penstock.client.client import Client
from penstock.client.errors import BadEvent, Closed, QueueFull, Refused, SpoolFull, SpoolLocked, Unsent
from penstock.client.event import EVENT_BYTES_MAX
from penstock.client.spool import BYTES_MAX_AT_LEAST
from penstock.client.tally import Refusal
from unit.client.fake_server import API_KEY, DROP, HONEST, TAKE_AND_DROP, Act, FakeServer, a_problem

QUICK = Backoff(first_ms=1, longest_ms=5)
WAIT_S = 30
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens


def a_client(url: str, **options: Any) -> Client:
    return Client(url, API_KEY, **{"backoff": QUICK, "linger_ms": 5, **options})


def send(client: Client, count: int, first: int = 0) -> list[str]:
    return [
        client.send(transaction_id=f"t-{n}", customer_id="acme", event_type="call", properties={"n": n})
        for n in range(first, first + count)
    ]


def until(holds: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def sizes(server: FakeServer) -> list[int]:
    return [len(request) for request in server.requests]


def test_events_go_in_batches_over_one_kept_connection_with_the_key() -> None:
    with FakeServer() as server:
        with a_client(server.url, batch_events_max=10, connections=1, linger_ms=60_000) as client:
            ids = send(client, 25)
            assert client.flush(WAIT_S)

        assert sizes(server) == [10, 10, 5]
        assert list(server.seen) == ids
        assert server.authorizations == {f"Bearer {API_KEY}"}
        assert len(server.connections) == 1
        assert client.receipts == {0: 3}


def test_what_waits_goes_by_itself_after_its_linger() -> None:
    with FakeServer() as server, a_client(server.url) as client:
        send(client, 3)
        until(lambda: not client.stats.pending)

        assert len(server.seen) == 3


NOT_AN_ANSWER = Act(200, takes=True, body=b"hello")


@pytest.mark.parametrize("act", [DROP, TAKE_AND_DROP, Act(503), Act(429), Act(500), NOT_AN_ANSWER])
def test_what_is_not_acknowledged_is_sent_until_it_is_and_counted_once(act: Act) -> None:
    with FakeServer(act, act, HONEST, act) as server:
        with a_client(server.url, batch_events_max=5, connections=1) as client:
            send(client, 10)

        assert len(server.seen) == 10
        stats = client.stats
        assert stats.accepted + stats.duplicates == stats.sent == 10
        assert stats.duplicates == (10 if act.takes else 0)
        assert stats.retries == 3


def test_totals_are_exact_over_a_line_that_keeps_failing() -> None:
    chance = Random("flaky")
    acts = chance.choices([DROP, TAKE_AND_DROP, Act(503, takes=True), Act(429), HONEST], k=120)
    with FakeServer(*acts) as server:
        with a_client(server.url, batch_events_max=7, connections=4) as client:
            threads = [threading.Thread(target=send, args=(client, 100, 100 * n)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert {event["properties"]["n"] for event in server.seen.values()} == set(range(400))
        stats = client.stats
        assert (stats.sent, stats.pending, stats.rejected, stats.conflicts) == (400, 0, 0, 0)
        assert stats.accepted + stats.duplicates == 400


def test_rejected_events_and_conflicts_are_told_and_never_sent_again() -> None:
    heard: list[Refusal] = []
    with FakeServer() as server:
        with a_client(server.url, on_refused=heard.append) as client:
            client.send({"transaction_id": "a", "customer_id": "", "event_type": "call"})
            client.send({"transaction_id": "b", "customer_id": "acme", "event_type": "call"})
            client.send({"transaction_id": "b", "customer_id": "acme", "event_type": "another"})
        requests = sizes(server)

    assert requests == [3]
    assert [(r.number, r.transaction_id, r.reason) for r in client.rejected] == [(0, "a", "because rejected")]
    assert [(r.number, r.transaction_id, r.reason) for r in client.conflicts] == [(2, "b", "because conflict")]
    assert heard == client.rejected + client.conflicts
    assert (client.stats.accepted, client.stats.rejected, client.stats.conflicts) == (1, 1, 1)


def test_an_event_that_the_server_cannot_read_does_not_sink_its_batch() -> None:
    unreadable = Act(400, body=a_problem("bad-request", "cannot be read"))
    with FakeServer(unreadable, HONEST, unreadable, HONEST) as server:
        with a_client(server.url) as client:
            send(client, 3)

        assert [[event["transaction_id"] for event in request] for request in server.requests] == [
            ["t-0", "t-1", "t-2"],
            ["t-0"],
            ["t-1", "t-2"],
            ["t-1"],
            ["t-2"],
        ]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_client_says_so_at_every_call_and_its_spool_keeps_the_events(tmp_path: Path, status: int) -> None:
    with FakeServer(Act(status, body=a_problem("any", "not you"))) as server:
        client = a_client(server.url, spool=tmp_path)
        send(client, 2)
        with pytest.raises(Refused, match=f"the server answers {status}: not you"):
            client.flush(WAIT_S)
        with pytest.raises(Refused):
            send(client, 1)
        with pytest.raises(Refused):
            client.close()
        client.close()

        with a_client(server.url, spool=tmp_path) as client:
            assert client.flush(WAIT_S)
        assert client.stats.recovered == client.stats.accepted == 2


def test_an_error_in_the_callback_stops_the_client_with_it() -> None:
    def fail(refusal: Refusal) -> None:
        raise LookupError(refusal.transaction_id)

    with FakeServer() as server:
        client = a_client(server.url, on_refused=fail)
        client.send(transaction_id="a", customer_id="", event_type="call")
        with pytest.raises(LookupError, match="a"):
            client.flush(WAIT_S)
        with pytest.raises(LookupError, match="a"):
            client.close()


def test_without_a_spool_closing_says_how_many_events_are_lost() -> None:
    client = a_client(NOBODY)
    send(client, 3)
    until(lambda: client.stats.retries)

    with pytest.raises(Unsent, match=r"3 events were not acknowledged \(no answer from the server: Connection") as told:
        client.close(timeout_s=0)
    assert told.value.events == 3


def test_a_full_queue_raises_or_blocks_as_chosen() -> None:
    with a_client(NOBODY, queue_events_max=2, when_full="raise", linger_ms=3_600_000, spool=None) as client:
        send(client, 2)
        with pytest.raises(QueueFull):
            send(client, 1)
        with pytest.raises(Unsent):
            client.close(0)

    with FakeServer() as server, a_client(server.url, queue_events_max=2) as client:
        send(client, 100)
        assert client.flush(WAIT_S)
        assert client.stats.accepted == 100


def test_a_full_spool_raises_or_blocks_as_chosen(tmp_path: Path) -> None:
    event = b'{"transaction_id":"%d","customer_id":"acme","pad":"' + b"a" * (EVENT_BYTES_MAX - 100) + b'"}'
    with a_client(NOBODY, spool=tmp_path, spool_bytes_max=BYTES_MAX_AT_LEAST, when_full="raise") as client:
        for n in range(8):
            client.send_json(event % n)
        with pytest.raises(SpoolFull):
            client.send_json(event % 8)
        client.close(0)

    with FakeServer() as server, a_client(server.url, spool=tmp_path, spool_bytes_max=BYTES_MAX_AT_LEAST) as client:
        for n in range(30):
            client.send_json(event % n)
        assert client.flush(WAIT_S)
        assert len(server.seen) == 30
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= BYTES_MAX_AT_LEAST


def test_a_server_that_is_started_later_gets_everything(tmp_path: Path) -> None:
    with FakeServer() as server:
        pass
    client = a_client(server.url, spool=tmp_path)
    send(client, 50)
    until(lambda: client.stats.retries >= 5)
    client.close(0)  # nothing is lost, so nothing is raised
    with FakeServer() as server, a_client(server.url, spool=tmp_path) as client:
        send(client, 10, first=50)
        assert client.flush(WAIT_S)

        assert len(server.seen) == 60
        assert (client.stats.recovered, client.stats.sent, client.stats.accepted) == (50, 10, 60)


def test_a_spool_copied_from_a_living_client_gives_every_event_again_and_none_counts_twice(tmp_path: Path) -> None:
    with FakeServer(HONEST, TAKE_AND_DROP, *[DROP] * 1_000) as server:
        client = a_client(server.url, spool=tmp_path / "spool", batch_events_max=10, connections=1)
        send(client, 30)
        until(lambda: client.stats.retries >= 3)
        shutil.copytree(tmp_path / "spool", tmp_path / "copy")
        client.close(0)
        server.script.clear()
        with a_client(server.url, spool=tmp_path / "copy") as client:
            assert client.flush(WAIT_S)

        assert client.stats.recovered == 20
        assert client.stats.duplicates == 10
        assert len(server.seen) == 30


def test_a_durable_send_and_sync_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def spy(file: int) -> None:
        fsync(file)
        synced.append(os.fstat(file).st_size)

    client = a_client(NOBODY, spool=tmp_path, linger_ms=3_600_000)
    monkeypatch.setattr(os, "fsync", spy)
    client.send(customer_id="acme", event_type="call")  # its new segment makes the folder durable, not the event
    segment = next(path for path in tmp_path.iterdir() if path.name.isdecimal())
    assert segment.stat().st_size not in synced
    client.send(customer_id="acme", event_type="call", durable=True)
    assert segment.stat().st_size in synced
    client.send(customer_id="acme", event_type="call")
    assert segment.stat().st_size not in synced
    client.sync()
    assert segment.stat().st_size in synced
    client.close(0)


def test_only_a_spool_makes_events_durable() -> None:
    with a_client(NOBODY) as client:
        with pytest.raises(ValueError, match="only a client with a spool"):
            client.send(customer_id="acme", event_type="call", durable=True)
        with pytest.raises(ValueError, match="only a client with a spool"):
            client.sync()


def test_a_bad_event_is_not_taken() -> None:
    with a_client(NOBODY) as client:
        with pytest.raises(BadEvent):
            client.send(customer="acme")
        with pytest.raises(BadEvent):
            client.send_json(b"{")

        assert client.stats.sent == 0


def test_a_second_client_on_a_spool_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    with a_client(NOBODY, spool=tmp_path), pytest.raises(SpoolLocked):
        a_client(NOBODY, spool=tmp_path)
    a_client(NOBODY, spool=tmp_path).close()


def test_a_closed_client_takes_nothing() -> None:
    client = a_client(NOBODY)
    client.close()
    client.close()

    with pytest.raises(Closed):
        send(client, 1)


def test_a_client_is_not_for_a_forked_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_client(NOBODY) as client:
        monkeypatch.setattr(os, "getpid", lambda: 1)

        with pytest.raises(Closed, match="make one in each process"):
            send(client, 1)


@pytest.mark.parametrize(
    ("url", "key", "options"),
    [
        ("ftp://host", "key", {}),
        ("host:8600", "key", {}),
        ("http://host:port", "key", {}),
        ("http://host/?a=b", "key", {}),
        ("http://host", "", {}),
        ("http://host", "k\u00e9y", {}),
        ("http://host", "key\r\nX: y", {}),
        ("http://host", "key", {"batch_events_max": 10_001}),
        ("http://host", "key", {"batch_bytes_max": 10}),
        ("http://host", "key", {"connections": 0}),
    ],
)
def test_an_option_that_cannot_be_is_refused(url: str, key: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|Port|API key"):
        Client(url, key, **options)


def test_the_key_is_never_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeServer(Act(401)) as server:
        client = Client(server.url, "very-secret", linger_ms=1)
        client.send(customer_id="acme", event_type="call")
        with pytest.raises(Refused) as refusal:
            client.flush(WAIT_S)
        with pytest.raises(Refused):
            client.close()

    assert "very-secret" not in f"{refusal.value!r} {client.stats} {vars(client)['_waiting']} {caplog.text}"


def test_usage_is_awaited_until_the_receipts_are_folded() -> None:
    with FakeServer() as server, a_client(server.url) as client:
        send(client, 1)
        assert client.wait_visible(0) is False
        assert client.flush(WAIT_S)
        server.pipeline = b"not a pipeline"
        assert client.wait_visible(0) is False
        server.pipeline = b'{"data":[{"partition":0,"folded":1,"clock_us":0}]}'
        assert client.wait_visible(WAIT_S) is True


def test_the_client_needs_the_standard_library_and_msgspec_alone() -> None:
    program = (
        "import sys, penstock.client.client, penstock.client.files\n"
        "names = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(names - {'__main__', 'typing_extensions'} - {n for n in names if n.startswith('_')}))\n"
        "print(sorted(name for name in sys.modules if name.startswith('penstock.') and 'client' not in name))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    # msgspec imports typing_extensions where it is installed.
    assert done.stdout == "['msgspec', 'penstock']\n[]\n"
