"""A ClickHouse for tests: the one that is named, else the official image, else a `penstock clickhouse-dev`."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from testcontainers.community.clickhouse import ClickHouseContainer

NAMED_BY = "PENSTOCK_TEST_CLICKHOUSE"
IMAGE = "clickhouse/clickhouse-server:25.8"
HTTP_PORT = 8123
READY_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
DOCKER_TIMEOUT_S = 30


class ClickHouseDev:
    """A `penstock clickhouse-dev` process on a free port, the same over restarts. Leaving the context kills it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = _free_port()
        self.url = f"clickhouse://127.0.0.1:{self.port}/default"
        self.output_file = data_dir.with_name(data_dir.name + ".output")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start on the same port and folder, and wait until it answers."""
        assert self._process is None, "already running"
        command = [sys.executable, "-m", "penstock", "clickhouse-dev"]
        command += ["--port", str(self.port), "--data-dir", str(self.data_dir)]
        with self.output_file.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._is_ready():
            assert self._process.poll() is None, f"clickhouse-dev ended by itself\n{self._last_output()}"
            assert time.monotonic() < deadline, f"not ready after {READY_TIMEOUT_S} s\n{self._last_output()}"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/ping")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False  # not listening yet

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM: it must end what it is at and exit 0."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_TIMEOUT_S)
        self._process = None
        assert code == 0, f"exit code {code} after SIGTERM\n{self._last_output()}"

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone; it may be gone already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections are taken by the kernel, nothing is answered until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _last_output(self) -> str:
        return self.output_file.read_text(errors="replace")[-4_000:]


@contextlib.contextmanager
def clickhouse(data_dir: Path) -> Iterator[str]:
    """The URL of a server that tests may use, each with a database of its own. `data_dir` is for the front alone."""
    named = os.environ.get(NAMED_BY)
    if named:
        yield named
    elif _docker_answers():
        with ClickHouseContainer(IMAGE) as container:
            host, port = container.get_container_host_ip(), container.get_exposed_port(HTTP_PORT)
            yield f"clickhouse://{container.username}:{container.password}@{host}:{port}/{container.dbname}"
    else:
        with ClickHouseDev(data_dir) as front:
            yield front.url


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "version"], capture_output=True, timeout=DOCKER_TIMEOUT_S, check=False)
    return asked.returncode == 0


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
