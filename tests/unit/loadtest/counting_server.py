"""A tiny server with just what a load run asks of Penstock. It counts as told to: right, or one event wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Event = Mapping[str, Any]
# What becomes of the events that are new: what comes back is counted.
Count = Callable[[int, list[Event]], list[Event]]
# The status to answer an ingest request with instead; None ends the connection after the events were taken.
Fault = Callable[[int], int | None]


def right(_request: int, events: list[Event]) -> list[Event]:
    return events


def loses_one(request: int, events: list[Event]) -> list[Event]:
    return events[1:] if request == 3 else events


def doubles_one(request: int, events: list[Event]) -> list[Event]:
    return [*events, *events[:1]] if request == 3 else events


def moves_one_to_the_next_hour(request: int, events: list[Event]) -> list[Event]:
    if request != 3:
        return events
    moved = events[0]["timestamp"].replace("T", "T0", 1)
    hour = (int(moved[12:14]) + 1) % 24
    return [{**events[0], "timestamp": f"{moved[:11]}{hour:02}{moved[14:]}"}, *events[1:]]


def never_fails(_request: int) -> int | None:
    return 200


class CountingServer:
    """Leaving the context closes it. `lag`: how many records the pipeline says it is behind, for ever."""

    def __init__(self, count: Count = right, fault: Fault = never_fails, lag: int = 0) -> None:
        self.count, self.fault, self.lag = count, fault, lag
        self.lock = threading.Lock()
        self.requests = 0
        self.offset = -1
        self.bodies: dict[str, Event] = {}  # by id, the first copy
        self.received: list[Event] = []  # every copy
        self.counted: list[Event] = []
        self.customers: dict[str, str] = {}  # key by id
        self.metrics: list[dict[str, Any]] = []
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.counting = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, method: str, path: str, body: Any) -> tuple[int | None, Any]:
        with self.lock:
            match method, path.partition("?")[0]:
                case "POST", "/v1/ingest":
                    return self._ingest(body)
                case "POST", "/v1/customers":
                    self.customers[f"id-{len(self.customers)}"] = body["ingest_aliases"][0]
                    return 200, {"data": {"id": f"id-{len(self.customers) - 1}"}}
                case "POST", "/v1/billable-metrics/create":
                    self.metrics.append({**body, "id": f"metric-{len(self.metrics)}", "archived_at": None})
                    return 200, {"data": {"id": self.metrics[-1]["id"]}}
                case "GET", "/v1/billable-metrics":
                    return 200, {"data": self.metrics, "next_page": None}
                case "GET", "/v1/pipeline":
                    return 200, {"data": [{"partition": 0, "folded": self.offset - self.lag}]}
                case "POST", "/v1/usage":
                    return 200, {"data": list(self._usage(body)), "next_page": None}
                case "POST", "/v1/usage/groups":
                    return 200, {"data": list(self._groups(body)), "next_page": None}
        return 404, {"detail": f"no route {path}"}

    def _ingest(self, events: list[Event]) -> tuple[int | None, Any]:
        self.requests += 1
        status = self.fault(self.requests)
        if status not in (200, None):
            return status, {"detail": "come back later"}
        self.received += events
        new = [event for event in events if event["transaction_id"] not in self.bodies]
        conflicts = sum(event != self.bodies.get(event["transaction_id"], event) for event in events)
        self.bodies.update({event["transaction_id"]: event for event in new})
        self.counted += self.count(self.requests, new)
        self.offset += 1
        return status, {
            "accepted": len(new),
            "duplicate": len(events) - len(new) - conflicts,
            "conflict": conflicts,
            "rejected": 0,
            "receipts": [{"partition": 0, "offset": self.offset}],
            "events": [],
        }

    def _usage(self, body: Any) -> Any:
        for metric in body["billable_metrics"]:
            for customer_id in body["customer_ids"]:
                found = self._sums(metric["id"], customer_id, ())
                for (hour, _), value in found.items():
                    start = f"{hour}:00:00Z"
                    row = {"customer_id": customer_id, "billable_metric_id": metric["id"]}
                    yield {**row, "start_timestamp": start, "value": value}

    def _groups(self, body: Any) -> Any:
        names = body["group_key"]
        for (hour, groups), value in self._sums(body["billable_metric_id"], body["customer_id"], names).items():
            yield {"starting_on": f"{hour}:00:00Z", "value": value, "group": dict(zip(names, groups, strict=True))}

    def _sums(self, metric_id: str, customer_id: str, names: Any) -> dict[tuple[str, tuple[str, ...]], int]:
        [metric] = [metric for metric in self.metrics if metric["id"] == metric_id]
        sums: dict[tuple[str, tuple[str, ...]], int] = {}
        for event in self.counted:
            if event["customer_id"] == self.customers[customer_id]:
                key = (event["timestamp"][:13], tuple(event["properties"][name] for name in names))
                assert datetime.fromisoformat(event["timestamp"]).tzinfo
                value = event["properties"][metric["aggregation_key"]] if metric["aggregation_type"] == "SUM" else 1
                sums[key] = sums.get(key, 0) + value
        return sums


class _Http(ThreadingHTTPServer):
    counting: CountingServer
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_GET(self) -> None:
        self._do("GET")

    def do_POST(self) -> None:
        self._do("POST")

    def _do(self, method: str) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = self.server.counting.answer(method, self.path, json.loads(text) if text else None)
        if status is None:
            self.close_connection = True
            return
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a test's output is its own."""
