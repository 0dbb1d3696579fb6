"""The client and `penstock send` against a real `penstock up`: totals are exact whatever dies, and whenever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from builders import a_metric_body, a_sum_body, rfc3339, yesterday
from penstock.client.backoff import Backoff
from penstock.client.client import Client
from penstock.client.errors import Refused
from server import API_KEY, PenstockServer, eventually

SENDER = Path(__file__).with_name("spooling_sender.py")
EVENTS, LIVES = 4_000, 5
WAIT_S = 60
NOON = rfc3339(yesterday() + timedelta(hours=12))
QUICK = Backoff(first_ms=1, longest_ms=50)
TICKS = {"PENSTOCK_TICK_INTERVAL_MS": "200"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path_factory.mktemp("client") / "data", env=TICKS) as server:
        yield server
        server.stop()


class Counted:
    """One customer's count of events, and the sum of a property of theirs."""

    def __init__(self, server: PenstockServer, name: str, key: str = "n") -> None:
        self.server, self.name = server, name
        self.customer_id = server.client.v1.customers.create(name=name, ingest_aliases=[name]).data.id
        bodies = (a_metric_body(f"{name} events"), a_sum_body(key))
        self._metrics = [server.client.v1.billable_metrics.create(**body).data.id for body in bodies]

    def __call__(self) -> list[Decimal]:
        day = yesterday()
        end = day + timedelta(days=1)
        usages = [self.server.usage(metric, self.customer_id, day, end) for metric in self._metrics]
        return [usage.get((day, ()), Decimal(0)) for usage in usages]


def first_numbers(count: int) -> list[Decimal]:
    """The count and the sum of the numbers below `count`."""
    return [Decimal(count), Decimal(count * (count - 1) // 2)]


def a_client(server: PenstockServer, **options: object) -> Client:
    return Client(f"http://127.0.0.1:{server.port}", API_KEY, backoff=QUICK, linger_ms=5, **options)  # type: ignore[arg-type]  # named as in Client


def send(client: Client, customer: str, first: int, below: int) -> None:
    for n in range(first, below):
        event = {"transaction_id": f"{customer}-{n}", "customer_id": customer, "event_type": "llm_call"}
        client.send(event, timestamp=NOON, properties={"n": n})


class Sender:
    """One life after another of the program that sends; what it said is kept. With a seed, each ends elsewhere."""

    def __init__(self, server: PenstockServer, spool: Path, customer: str) -> None:
        self._arguments = [f"http://127.0.0.1:{server.port}", API_KEY, str(spool), customer, NOON]
        self.taken = 0  # the events that `send` has returned for
        self.recovered = 0

    def live(self, below: int, die_at: str = "", kill_at: int | None = None) -> int:
        """Send up to event `below`, or die on the way: by itself, or killed once `kill_at` is taken. The exit code."""
        command = [sys.executable, str(SENDER), *self._arguments, str(self.taken), str(below), die_at]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    self.recovered = json.loads(line)["recovered"]
                else:
                    self.taken = int(line) + 1
                    if self.taken == kill_at:
                        process.kill()
        return process.returncode


def a_death(chance: Random) -> str:
    """Where a life ends by itself: in the middle of a write of the spool, before an fsync, before a deletion."""
    call, latest = chance.choice([("pwrite", 60), ("pwrite", 60), ("fsync", 3), ("unlink", 2)])
    return f"{call}:{chance.randint(1, latest)}:{chance.randint(0, 100)}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_sender_that_is_killed_again_and_again_loses_nothing(
    server: PenstockServer, tmp_path: Path, seed: int
) -> None:
    chance, customer = Random(seed), f"killed-{seed}"
    counted = Counted(server, customer)
    sender = Sender(server, tmp_path / "spool", customer)
    for life in range(LIVES):
        if life % 2:
            sender.live(EVENTS, kill_at=sender.taken + chance.randint(1, 60))
        else:
            assert sender.live(EVENTS, die_at=a_death(chance)) == -signal.SIGKILL
    taken = sender.taken

    assert sender.live(taken) == 0  # sends nothing new: only what the spool has kept

    # The event that was being taken when the sender died may be in the spool or not; all before it are.
    eventually(lambda: counted()[0] in (taken, taken + 1), True)
    assert sender.live(EVENTS) == 0
    eventually(counted, first_numbers(EVENTS))


@pytest.mark.slow
def test_a_sender_that_is_killed_while_the_server_is_away_sends_it_all_later(tmp_path: Path) -> None:
    with PenstockServer(tmp_path / "data", env=TICKS) as server:
        counted = Counted(server, "away")
        server.stop()
        sender = Sender(server, tmp_path / "spool", "away")
        for life in range(1, 4):
            assert sender.live(10_000, kill_at=50 * life) == -signal.SIGKILL
        server.start()
        taken = sender.taken
        assert sender.live(taken) == 0

        assert sender.recovered in (taken, taken + 1)
        eventually(counted, first_numbers(sender.recovered))
        server.stop()


@pytest.mark.slow
def test_a_client_that_starts_before_its_server_waits_for_it(tmp_path: Path) -> None:
    with PenstockServer(tmp_path / "data", env=TICKS) as server:
        counted = Counted(server, "early")
        server.stop()
        with a_client(server, spool=tmp_path / "spool") as client:
            send(client, "early", 0, 500)
            assert client.flush(0.5) is False
            server.start()
            assert client.wait_visible(WAIT_S)

            assert counted() == first_numbers(500)
            assert client.stats.accepted + client.stats.duplicates == 500
        server.stop()


@pytest.mark.slow
def test_a_server_that_is_killed_under_a_client_gets_everything_once(tmp_path: Path) -> None:
    chance = Random("server killed")
    with PenstockServer(tmp_path / "data", env=TICKS) as server:
        counted = Counted(server, "steady")
        with a_client(server, batch_events_max=50) as client:
            sending = threading.Thread(target=send, args=(client, "steady", 0, 30_000))
            sending.start()
            for _ in range(3):
                server.kill9_in(chance.uniform(0.05, 0.4)).join()
                server.wait_until_gone()
                server.start()
            sending.join()
            assert client.wait_visible(WAIT_S)

            assert counted() == first_numbers(30_000)
            stats = client.stats
            assert (stats.sent, stats.pending, stats.rejected, stats.conflicts) == (30_000, 0, 0, 0)
        server.stop()


def test_what_is_visible_is_in_usage_duplicates_too(server: PenstockServer) -> None:
    counted = Counted(server, "visible")
    with a_client(server) as client:
        send(client, "visible", 0, 200)
        assert client.wait_visible(WAIT_S)
        assert counted() == first_numbers(200)
    with a_client(server) as client:
        send(client, "visible", 100, 300)
        assert client.wait_visible(WAIT_S)

        assert counted() == first_numbers(300)
        assert (client.stats.accepted, client.stats.duplicates) == (100, 100)


def test_a_key_that_may_only_ingest_cannot_ask_what_is_visible(server: PenstockServer) -> None:
    key = server.raw.post("/v1/api-keys", {"name": "ingest", "scopes": ["ingest"]}).json["data"]["key"]
    with Client(f"http://127.0.0.1:{server.port}", key) as client:
        send(client, "blind", 0, 1)
        with pytest.raises(Refused, match="the server answers 403"):
            client.wait_visible(WAIT_S)


def test_rejected_events_are_told_by_a_real_server(server: PenstockServer) -> None:
    with a_client(server) as client:
        client.send(transaction_id="old", customer_id="told", event_type="llm_call", timestamp="2020-01-01T00:00:00Z")
        client.send(transaction_id="new", customer_id="told", event_type="llm_call")
        client.send_json(b"5")
        assert client.flush(WAIT_S)

        assert [(each.number, each.reason) for each in client.rejected] == [
            (0, "timestamp is more than 34 days ago"),
            (2, "Expected `object`, got `int`"),
        ]
        assert client.stats.accepted == 1


def test_a_csv_file_is_counted_to_the_last_digit_and_once(server: PenstockServer, tmp_path: Path) -> None:
    counted = Counted(server, "csv", key="cost")
    costs = ["0.1", "0.2", "1e3", "99999999999999999999.000000000001", "-0.3"]
    path = tmp_path / "usage.csv"
    path.write_text("timestamp,cost\n" + "".join(f"{NOON},{cost}\n" for cost in costs))
    for _ in range(2):
        assert penstock_send(server, path, "--customer-id", "csv", "--event-type", "llm_call") == 0

    eventually(counted, [Decimal(5), Decimal("100000000000000000999.000000000001")])


@pytest.mark.slow
def test_a_file_whose_sending_is_killed_is_sent_again_and_counts_once(server: PenstockServer, tmp_path: Path) -> None:
    counted = Counted(server, "file")
    path = tmp_path / "usage.ndjson"
    row = {"customer_id": "file", "event_type": "llm_call", "timestamp": NOON}
    path.write_text("".join(json.dumps(row | {"properties": {"n": n}}) + "\n" for n in range(50_000)))
    for spool in ([], ["--spool", str(tmp_path / "spool")]):
        assert penstock_send(server, path, *spool, kill_when=lambda: counted()[0] > 0) < 0
    assert penstock_send(server, path, "--spool", str(tmp_path / "spool")) == 0

    eventually(counted, first_numbers(50_000))


def penstock_send(server: PenstockServer, *arguments: str | Path, kill_when: object = None) -> int:
    command = [sys.executable, "-m", "penstock", "send", *map(str, arguments)]
    environment = os.environ | {"PENSTOCK_URL": f"http://127.0.0.1:{server.port}", "PENSTOCK_API_KEY": API_KEY}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        if callable(kill_when):
            while process.poll() is None and not kill_when():
                time.sleep(0.01)
            process.kill()
        return process.wait(WAIT_S)
