"""A file system of a few megabytes that can be filled to the last byte and emptied again: a tmpfs, mounted by root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PIECE_BYTES = 64 * 1024


class SmallDisk:
    """`folder` is where it is mounted. The ballast is a file of its own, which nobody reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def fill(self, leaving_bytes: int) -> None:
        """Let the ballast take all but so much."""
        with self._ballast.open("ab", buffering=0) as ballast:
            while (room := self.free_bytes - leaving_bytes) > 0:
                ballast.write(bytes(min(room, PIECE_BYTES)))

    def empty(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mounted at `folder` inside. Where this user may not mount, CI fails and others are told what did not run."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must be able to mount a tmpfs: {done.stderr}")
        pytest.skip(f"NOT RUN, needs to mount a small file system, as root: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
