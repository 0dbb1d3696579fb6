"""The facts without which a figure says nothing: the machine, the versions, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("penstock", "msgspec", "granian", "pyarrow", "numpy", "chdb", "clickhouse-connect", "uvloop", "grpcio")


class Machine(msgspec.Struct, frozen=True):
    """Where and on what a run ran. `commit` ends in `+` where files differ from it."""

    cpu: str
    cores: int
    memory_mib: int
    kernel: str
    python: str
    packages: Mapping[str, str]
    commit: str


def this_machine() -> Machine:
    return Machine(
        cpu=_first("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        cores=len(os.sched_getaffinity(0)),
        memory_mib=int((_first("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) // 1024,
        kernel=platform.release(),
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        commit=_commit(),
    )


def _first(file: str, name: str) -> str | None:
    """The value of the first line `name : value`."""
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    """Empty where this is no git checkout."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    return commit + "+" if commit and _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
