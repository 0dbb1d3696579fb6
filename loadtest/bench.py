"""`make bench`: events per second end to end over HTTP on a fresh embedded server, every event verified.

Prints one row per batch size: rate until visible, acknowledgement latency, freshness (from the acknowledgement to the
fold's marker), CPU and memory of the server. A run whose usage does not add up exits 1, however fast it was.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from loadtest.server import Server
from loadtest.traffic import Template

CUSTOMERS = 20
FRESHNESS_EVERY_S = 0.05


class Run:
    """What a run has done so far; shared by its threads."""

    def __init__(self, events: int, template: Template) -> None:
        self.template = template
        self.batches = events // template.size
        self.numbers: Iterator[int] = iter(range(self.batches))
        self.lock = threading.Lock()
        self.latencies_s: list[float] = []
        self.freshness_s: list[float] = []
        self.newest: tuple[int, float] = (-1, 0.0)  # offset of partition 0, when it was acknowledged
        self.failed: list[str] = []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__)
    parser.add_argument("--events", type=int, default=3_000_000, help="events per batch size")
    parser.add_argument("--batches", default="100,1000", help="batch sizes, comma-separated")
    parser.add_argument("--connections", type=int, default=16)
    given = parser.parse_args()
    _say("batch      events   events/s   ack p50   ack p99  fresh p99  CPU us/event  RSS MiB")
    exact = True
    for size in map(int, given.batches.split(",")):
        with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "data") as server:
            exact = bench(server, size, given.events, given.connections) and exact
    return 0 if exact else 1


def bench(server: Server, size: int, events: int, connections: int) -> bool:
    """One run; prints its row and returns whether the usage adds up."""
    customers = [
        server.call("POST", "/v1/customers", {"name": f"Customer {n}"})["data"]["id"] for n in range(CUSTOMERS)
    ]
    metrics = [_metric(server, name, kind) for name, kind in (("tokens", "SUM"), ("calls", "COUNT"))]
    now = datetime.now(UTC)
    run = Run(events, Template(size, customers, seed=size, now=now))
    cpu_ms = server.cpu_ms()
    started = time.perf_counter()
    watcher = threading.Thread(target=_watch_freshness, args=(server, run), daemon=True)
    watcher.start()
    senders = [threading.Thread(target=_send, args=(server, run)) for _ in range(connections)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    _await_folded(server, run.newest[0])
    elapsed_s = time.perf_counter() - started
    watcher.join()
    sent = run.batches * size
    cpu_us = (server.cpu_ms() - cpu_ms) * 1000 // sent
    p50, p99, fresh = _ms(run.latencies_s, 50), _ms(run.latencies_s, 99), _ms(run.freshness_s, 99)
    rate = int(sent / elapsed_s)
    _say(f"{size:>5} {sent:>11,} {rate:>10,} {p50:>9} {p99:>9} {fresh:>10} {cpu_us:>13} {server.rss_mib():>8}")
    return _adds_up(server, run, metrics, now)


def _metric(server: Server, name: str, kind: str) -> str:
    body: dict[str, object] = {"name": name, "aggregation_type": kind, "group_keys": [["model"], ["region"]]}
    if kind == "SUM":
        body["aggregation_key"] = "output_tokens"
    metric: str = server.call("POST", "/v1/billable-metrics/create", body)["data"]["id"]
    return metric


def _send(server: Server, run: Run) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    while True:
        with run.lock:
            number = next(run.numbers, None)
        if number is None or run.failed:
            connection.close()
            return
        body = run.template.batch(number)
        began = time.perf_counter()
        connection.request("POST", "/v1/ingest", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        ended = time.perf_counter()
        if answer.status == 429:
            with run.lock:
                run.numbers = itertools.chain([number], run.numbers)
            time.sleep(0.2)
            continue
        if answer.status != 200:
            run.failed.append(text.decode())
            continue
        run.latencies_s.append(ended - began)
        for receipt in json.loads(text)["receipts"]:
            if receipt["partition"] == 0 and receipt["offset"] > run.newest[0]:
                run.newest = (receipt["offset"], ended)


def _watch_freshness(server: Server, run: Run) -> None:
    """From an acknowledgement to its offset being folded and flushed: then every usage query sees it."""
    while len(run.latencies_s) < run.batches and not run.failed:
        offset, acknowledged = run.newest
        if offset >= 0:
            _await_folded(server, offset)
            run.freshness_s.append(time.perf_counter() - acknowledged)
        time.sleep(FRESHNESS_EVERY_S)


def _await_folded(server: Server, offset: int) -> None:
    while server.call("GET", "/v1/pipeline")["data"][0]["folded"] < offset:
        time.sleep(0.02)


def _adds_up(server: Server, run: Run, metrics: list[str], now: datetime) -> bool:
    """Compare usage by group with the truth."""
    if run.failed:
        _say(f"  a request failed: {run.failed[0]}")
        return False
    start = (now - timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    body = {
        "starting_on": start.isoformat(),
        "ending_before": (now + timedelta(hours=1)).isoformat(),
        "window_size": "NONE",
        "billable_metrics": [{"id": metric, "group_by": {"key": "model"}} for metric in metrics],
    }
    tokens: dict[str, int] = {}
    calls = 0
    for row in server.call("POST", "/v1/usage", body)["data"]:
        for model, value in row["groups"].items():
            if row["billable_metric_id"] == metrics[0]:
                tokens[model] = tokens.get(model, 0) + int(Decimal(value))
            else:
                calls += int(Decimal(value))
    truth: dict[str, int] = {}
    for (model, _), value in run.template.output_tokens.items():
        truth[model] = truth.get(model, 0) + value * run.batches
    if (tokens, calls) == (truth, run.batches * run.template.size):
        return True
    _say(f"  does not add up: {tokens} and {calls} calls, sent {truth} and {run.batches * run.template.size}")
    return False


def _ms(values_s: list[float], percentile: int) -> str:
    if not values_s:
        return "-"
    return f"{sorted(values_s)[(len(values_s) - 1) * percentile // 100] * 1000:.0f} ms"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
