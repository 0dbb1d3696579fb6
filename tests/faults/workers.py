"""Aggregators as processes of a test, each by its pid; whatever still runs at the end is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from faults.worker import WorkerSettings

STOP_TIMEOUT_S = 60
GONE_TIMEOUT_S = 120
TESTS = Path(__file__).parents[1]


class Worker:
    """One process. `name` names its folder of ids, so that one of the same name finds the files of the one before."""

    def __init__(self, settings: WorkerSettings, name: str) -> None:
        self.name = name
        folder = Path(settings.folder)
        self.output = folder / f"{name}.output"
        own = msgspec.structs.replace(settings, folder=str(folder / name))
        self._assignments_before = 0
        path = [str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faults.worker", msgspec.json.encode(own).decode()],
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            )

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; it may be gone already."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """SIGTERM: it must let go of everything and end with 0, unless it has not even begun."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_TIMEOUT_S)
        assert code == 0 or not self.last_output(), f"{self.name} ended with {code}\n{self.last_output()}"

    def wait_until_killed(self) -> None:
        """It kills itself at the step that it was told."""
        code = self._process.wait(GONE_TIMEOUT_S)
        assert code == -signal.SIGKILL, f"{self.name} ended with {code}\n{self.last_output()}"

    def wait_until_paused(self) -> None:
        """It stops itself at the step that it was told."""
        deadline = time.monotonic() + GONE_TIMEOUT_S
        while self._state() != "T":
            assert time.monotonic() < deadline, f"{self.name} did not stop itself\n{self.last_output()}"
            assert self._process.poll() is None, f"{self.name} ended\n{self.last_output()}"
            time.sleep(0.05)

    def _state(self) -> str:
        """One letter of the kernel's: T is stopped by a signal."""
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def wait_until_member_again(self) -> None:
        """After `resume`: it has lost its session, and was given partitions anew."""
        deadline = time.monotonic() + GONE_TIMEOUT_S
        while self._assignments() <= self._assignments_before:
            assert time.monotonic() < deadline, f"{self.name} is no member again\n{self.last_output()}"
            assert self.is_alive, f"{self.name} ended\n{self.last_output()}"
            time.sleep(0.05)

    def _assignments(self) -> int:
        return self.output.read_text(errors="replace").count("this process is given partitions")

    def resume(self) -> None:
        """SIGCONT."""
        self._assignments_before = self._assignments()
        self._process.send_signal(signal.SIGCONT)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def last_output(self) -> str:
        return self.output.read_text(errors="replace")[-4_000:]


class Fleet:
    """The aggregators of one test. Leaving the context kills what still runs."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.workers: list[Worker] = []
        Path(settings.folder).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for worker in self.workers:
            worker.kill()

    def start(self, name: str, fault_at: str | None = None, fault: str = "KILL") -> Worker:
        settings = msgspec.structs.replace(self.settings, fault_at=fault_at, fault=fault)
        worker = Worker(settings, name)
        self.workers.append(worker)
        return worker

    @property
    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.is_alive]
