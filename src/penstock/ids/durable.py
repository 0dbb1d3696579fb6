"""A file that appears whole or not at all, whenever the process or the machine stops, in a folder of one process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from penstock.kernel.problems import Refused

TEMPORARY = ".tmp"
LOCK = ".lock"


class FolderInUse(Refused):
    """Another process has it open: two would take away each other's files."""


def lock(folder: Path) -> BinaryIO:
    """Keep others out of the folder until what is returned is closed. Raise `FolderInUse`."""
    folder.mkdir(parents=True, exist_ok=True)
    held = folder.with_name(folder.name + LOCK).open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        held.close()
        raise FolderInUse(f"{folder} is in use by another process") from exc
    return held


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file under a temporary name; at the end of the block it is durable and named `path`, or it is gone."""
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """A new name is durable only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
