"""A small HTTP server that answers ingest as Penstock does, or misbehaves as a test tells it to."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

API_KEY = "a-key"


class Act(NamedTuple):
    """What to do with one request: take its events or not, then answer with `status`, or drop where it is None.

    With `body` None and status 200, the answer is the true one.
    """

    status: int | None = 200
    takes: bool = False
    headers: Mapping[str, str] = {}
    body: bytes | None = None


HONEST = Act(takes=True)
DROP = Act(None)
TAKE_AND_DROP = Act(None, takes=True)


class FakeServer:
    """Counts each id once. `script`: acts for the next requests, then `HONEST`. Leaving the context closes it."""

    def __init__(self, *script: Act) -> None:
        self.script = deque(script)
        self.requests: list[list[Any]] = []  # the events of each request, whatever became of it
        self.authorizations: set[str | None] = set()
        self.connections: set[Any] = set()
        self.seen: dict[str, Any] = {}
        self.pipeline: bytes = b'{"data":[{"partition":0,"folded":-1,"clock_us":0}]}'
        self.lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.fake = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def take(self, events: list[Any]) -> bytes:
        """Judge and keep the events; the answer as JSON."""
        verdicts = [self._judge(event) for event in events]
        names = ("accepted", "duplicate", "conflict", "rejected")
        answer: dict[str, Any] = {name: verdicts.count(name) for name in names}
        answer["receipts"] = [{"partition": 0, "offset": len(self.requests)}] if answer["accepted"] else []
        answer["events"] = [
            {"index": n, "transaction_id": _id_of(events[n]), "verdict": verdict, "reason": f"because {verdict}"}
            for n, verdict in enumerate(verdicts)
            if verdict != "accepted"
        ]
        return json.dumps(answer).encode()

    def _judge(self, event: Any) -> str:
        if not isinstance(event, dict) or not event.get("customer_id"):
            return "rejected"
        known = self.seen.setdefault(event["transaction_id"], event)
        if known is event:
            return "accepted"
        return "duplicate" if known == event else "conflict"


class _Http(ThreadingHTTPServer):
    fake: FakeServer
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(200, {}, self.server.fake.pipeline)

    def do_POST(self) -> None:
        fake = self.server.fake
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with fake.lock:
            events = msgspec.json.decode(body)
            fake.requests.append(events)
            fake.authorizations.add(self.headers["Authorization"])
            fake.connections.add(self.client_address)
            act = fake.script.popleft() if fake.script else HONEST
            true_answer = fake.take(events) if act.takes else b"{}"
        if act.status is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        answer = true_answer if act.body is None else act.body
        rejected = json.loads(true_answer).get("rejected")
        self._answer(400 if rejected and act.status == 200 else act.status, act.headers, answer)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _id_of(event: Any) -> Any:
    return event.get("transaction_id") if isinstance(event, dict) else None


def a_problem(kind: str, detail: str) -> bytes:
    return json.dumps({"type": f"urn:penstock:problem:{kind}", "detail": detail}).encode()
