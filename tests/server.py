"""A real `penstock up` process for a test: started on free ports, talked to over HTTP, stopped by its own pid."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from metronome import Metronome

from builders import batches, rfc3339, to_json

API_KEY = "the-bootstrap-key-of-the-tests"
READY_TIMEOUT_S = 240
STOP_TIMEOUT_S = 120
VISIBLE_TIMEOUT_S = 30
# Hundreds of servers are started here, each for a handful of events: they need not load a compiler.
COMPILED_LATE = {"PENSTOCK_COMPILE_AFTER_BYTES": str(16 * 2**20)}
OUTCOMES = ("counted", "duplicate", "conflict", "unmatched", "late", "quarantined", "voided")
_JSON_BODY = {"Content-Type": "application/json"}
# What a request meets when the server dies under it or is not there.
GONE = (OSError, http.client.HTTPException)


class Answer(NamedTuple):
    """An HTTP answer. Numbers in `json` are Decimals: nothing is lost on the way to an assertion."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_float=Decimal)


class RawClient:
    """Sends any bytes as they are, each request on a connection of its own."""

    def __init__(self, port: int, api_key: str | None) -> None:
        self._port = port
        self._key = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Raise one of `GONE` where there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            # A server may answer and hang up before it has read a body that is too large.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, {**_JSON_BODY, **self._key, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def post(self, path: str, body: object) -> Answer:
        """POST `body` as JSON; a Decimal keeps its digits. Bytes are sent as they are."""
        return self.send("POST", path, body if isinstance(body, bytes) else to_json(body))

    def ingest(self, events: Iterable[Mapping[str, Any]], batch_size: int = 1_000) -> None:
        """Send events in batches, each acknowledged."""
        for batch in batches(events, batch_size):
            answer = self.post("/v1/ingest", batch)
            assert answer.status == 200, answer


class PenstockServer:
    """`penstock up` on a data folder. Leaving the context kills what still runs."""

    def __init__(
        self,
        data_dir: Path,
        *,
        test_clock: bool = True,
        env: Mapping[str, str] | None = None,
        ports: Sequence[int] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._test_clock = test_clock
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.grpc_port = ports or _free_ports(2)
        self.raw = RawClient(self.port, API_KEY)
        self.client = Metronome(
            bearer_token=API_KEY,
            base_url=f"http://127.0.0.1:{self.port}",
            max_retries=0,
            _strict_response_validation=True,
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.leave()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.leave()

    def leave(self) -> None:
        """Kill it where it still runs."""
        if self._process is not None:
            self.kill9()
        self.client.close()

    def start(self, env: Mapping[str, str] | None = None, *, may_die: bool = False) -> None:
        """Start and wait until /readyz answers 200. `env` holds for this start only; `may_die` before it is ready."""
        self.launch(env)
        self.wait_ready(may_die=may_die)

    def launch(self, env: Mapping[str, str] | None = None) -> None:
        """Start, and do not wait."""
        assert self._process is None, "already running"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        environment = inherited | {"PENSTOCK_BOOTSTRAP_API_KEY": API_KEY} | COMPILED_LATE | self._env | dict(env or {})
        with self.output_file.open("ab") as output:
            self._process = subprocess.Popen(self._command(), env=environment, stdout=output, stderr=output)

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "penstock", "up", "--http-port", str(self.port)]
        command += ["--grpc-port", str(self.grpc_port), "--data-dir", str(self.data_dir)]
        return command + (["--test-clock"] if self._test_clock else [])

    def wait_ready(self, *, may_die: bool = False) -> None:
        """Wait until /readyz answers 200."""
        assert self._process is not None
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None:
                assert may_die, f"penstock ended by itself\n{self._last_output()}"
                return
            assert time.monotonic() < deadline, f"not ready after {READY_TIMEOUT_S} s\n{self._last_output()}"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            return RawClient(self.port, None).get("/readyz").status == 200
        except GONE:
            return False  # not listening yet

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output_file(self) -> Path:
        return self.data_dir.with_name(self.data_dir.name + ".output")

    def stop(self) -> None:
        """SIGTERM: it must drain and exit 0."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_TIMEOUT_S)
        self._process = None
        assert code == 0, f"exit code {code} after SIGTERM\n{self._last_output()}"

    def kill9(self) -> None:
        """SIGKILL, and wait until the process is gone; it may be gone already."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def kill9_in(self, delay_s: float) -> threading.Timer:
        """SIGKILL from another thread, while this one goes on; the caller joins the timer."""
        assert self._process is not None
        timer = threading.Timer(delay_s, self._process.kill)
        timer.start()
        return timer

    def wait_until_gone(self) -> None:
        """Wait for a process that was killed, or that kills itself."""
        assert self._process is not None
        code = self._process.wait(STOP_TIMEOUT_S)
        self._process = None
        assert code == -signal.SIGKILL, f"exit code {code}\n{self._last_output()}"

    def _last_output(self) -> str:
        return self.output_file.read_text(errors="replace")[-4_000:]

    def usage(
        self,
        metric_id: str,
        customer_id: str,
        start: datetime,
        end: datetime,
        size: str = "NONE",
        by: Iterable[str] = (),
    ) -> dict[tuple[datetime, tuple[str | None, ...]], Decimal]:
        """Grouped usage in the shape of the reference model's, all pages; windows without usage are left out."""
        names, found, cursor = list(by), {}, ""
        query = {
            "billable_metric_id": metric_id,
            "customer_id": customer_id,
            "window_size": size,
            "starting_on": rfc3339(start),
            "ending_before": rfc3339(end),
            "group_key": names,
        }
        while True:
            answer = self.raw.post("/v1/usage/groups" + cursor, query)
            assert answer.status == 200, answer
            for row in answer.json["data"]:
                groups = tuple((row["group"] or {}).get(name) for name in names)
                if row["value"]:
                    found[(datetime.fromisoformat(row["starting_on"]), groups)] = Decimal(row["value"])
            if answer.json["next_page"] is None:
                return found
            cursor = f"?next_page={answer.json['next_page']}"

    def outcomes(self) -> dict[str, int]:
        """What became of every event in the log so far."""
        answer = self.raw.get("/v1/usage/conservation")
        assert answer.status == 200, answer
        hours = answer.json["data"]
        return {name: sum(hour[name] for hour in hours) for name in OUTCOMES}

    def advance_clock(self, to: datetime) -> None:
        answer = self.raw.post("/v1/test-clock/advance", {"to": rfc3339(to)})
        assert answer.status == 200, answer


def eventually(read: Callable[[], object], expected: object, timeout_s: float = VISIBLE_TIMEOUT_S) -> None:
    """Assert that `read` comes to give `expected`: what was acknowledged becomes visible a moment later."""
    deadline = time.monotonic() + timeout_s
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == expected, f"{found!r}\nis not\n{expected!r}"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
