"""The jars of the pinned Kafka broker, resolved by Maven into .cache/kafka/<version>/ once and for all."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
POM = Path(__file__).with_name("kafka.pom.xml")
CACHE = REPOSITORY / ".cache" / "kafka"
RESOLVE_TIMEOUT_S = 600


class NoBroker(Exception):
    """No Kafka broker can be started on this machine; says why."""


def version() -> str:
    """The Kafka version that the pom pins."""
    found = re.search(r"<kafka\.version>([\d.]+)</kafka\.version>", POM.read_text())
    assert found, "the pom pins a version"
    return found[1]


def classpath() -> str:
    """What `java -cp` takes to run a broker. Resolves the jars where they are not there. Raise `NoBroker`."""
    folder = CACHE / version()
    if shutil.which("java") is None:
        raise NoBroker("no java (17 or later) is on the path")
    if not folder.is_dir():
        _resolve(folder)
    return f"{folder}/*"


def _resolve(folder: Path) -> None:
    """Resolve into a folder beside it and rename: it is there whole or not at all, whoever comes at the same time."""
    if shutil.which("mvn") is None:
        raise NoBroker(f"no mvn is on the path, and {folder} is not there")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        goal = "dependency:copy-dependencies"
        command = ["mvn", "-q", "-B", "-f", str(POM), goal, "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RESOLVE_TIMEOUT_S, check=False)
        if done.returncode:
            raise NoBroker(f"mvn could not resolve the broker's jars: {(done.stdout + done.stderr)[-500:]}")
        partial.rename(folder)
