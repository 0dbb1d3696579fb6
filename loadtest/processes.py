"""CPU time and anonymous memory of processes, from /proc. Pages of files are the kernel's to keep or to drop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CLIENT = "client"


class Use(msgspec.Struct, frozen=True):
    """CPU time used so far, user and system of all threads, and anonymous memory that is resident now."""

    cpu_ms: int
    anon_kib: int


def use_of(pid: int) -> Use:
    """Raise `OSError` where the process is gone."""
    folder = Path(f"/proc/{pid}")
    fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
    told = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    anon_kib = int(told["RssAnon"].split()[0])
    return Use((int(fields[11]) + int(fields[12])) * 1_000 // _TICKS_PER_S, anon_kib)


def uses(server_pids: Mapping[str, int]) -> dict[str, Use]:
    """This process, as `client`, and the server's; one that is gone, or elsewhere, is left out."""
    found = {}
    for name, pid in {CLIENT: os.getpid(), **server_pids}.items():
        try:
            found[name] = use_of(pid)
        except OSError:
            continue
    return found
