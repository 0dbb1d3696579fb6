"""A fresh `penstock up` of its own for a load test, on free ports and an empty folder, stopped by its process id."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

READY_WITHIN_S = 60


class Server:
    """A running server; use as a context manager."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.key = secrets.token_hex(16)
        self.port, self.grpc_port = _free_ports(2)
        command = [sys.executable, "-m", "penstock", "up", "--http-port", str(self.port), "--data-dir", str(data_dir)]
        command += ["--grpc-port", str(self.grpc_port), "--bootstrap-api-key", self.key, *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            self._await_ready()
        except BaseException:
            self._process.kill()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(120)
        if code:
            raise RuntimeError(f"the server ended with exit code {code}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, method: str, path: str, body: object | None = None) -> Any:
        """A JSON call; raises with the answer's text where the status is not 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
            return json.loads(text, parse_float=str)
        finally:
            connection.close()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with exit code {self._process.returncode}")
            try:
                self.call("GET", "/readyz")
            except (OSError, RuntimeError, http.client.HTTPException):
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"the server was not ready within {READY_WITHIN_S} s")


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
