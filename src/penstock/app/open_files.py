"""Open files: each connection is one, and many systems start a process with a limit of 1,024."""

from __future__ import annotations

import logging
import resource

OPEN_FILES_WANTED = 65_536

logger = logging.getLogger(__name__)


def raise_open_files_limit() -> None:
    """As far as this process may. A refusal is logged, and connections are then fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(OPEN_FILES_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as exc:
        logger.warning("at most %d files and connections: %s", soft, exc)


def connections_max() -> int:
    """How many connections leave the log and the usage store the files that they need: three of four."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (OPEN_FILES_WANTED if soft == resource.RLIM_INFINITY else min(OPEN_FILES_WANTED, soft)) * 3 // 4
