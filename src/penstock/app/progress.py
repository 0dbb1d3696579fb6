"""How far a long command is: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from penstock.client.tally import Stats

BAR_CHARS = 24
ON_TERMINAL_EVERY_S = 0.2
AS_LINES_EVERY_S = 5


class StatusLine:
    """One line that is written over on a terminal, and written again now and then elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._on_terminal = stream.isatty()
        self._every_s = ON_TERMINAL_EVERY_S if self._on_terminal else AS_LINES_EVERY_S
        self._shown_at_s = time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() >= self._shown_at_s + self._every_s

    def write(self, text: str) -> None:
        self._shown_at_s = time.monotonic()
        if self._on_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r\x1b[K" + text[:width])
            self._stream.flush()
        else:
            self.say(text)

    def say(self, line: str) -> None:
        """A line of its own, which stays."""
        self.clear()
        self._stream.write(line + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._on_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


class Progress(StatusLine):
    """Of sending. `bytes_total` is None where the end is not known."""

    def __init__(self, stream: TextIO, bytes_total: int | None) -> None:
        super().__init__(stream)
        self._bytes_total, self._shown_events = bytes_total, 0

    def show(self, stats: Stats, bytes_done: int | None) -> None:
        """Show these figures; the rate is that since the last time."""
        now_s = time.monotonic()
        answered = stats.sent + stats.recovered - stats.pending
        rate = int((answered - self._shown_events) / max(now_s - self._shown_at_s, 0.001))
        self._shown_events = answered
        parts = [f"{answered:,} events", f"{rate:,}/s", figures(stats), f"waiting {stats.pending:,}"]
        if bytes_done is not None and self._bytes_total:
            parts.insert(0, bar(bytes_done, self._bytes_total))
        if stats.last_error is not None:
            parts.append(f"retrying: {stats.last_error}")
        self.write("  ".join(parts))


def figures(stats: Stats) -> str:
    return (
        f"accepted {stats.accepted:,}, duplicate {stats.duplicates:,}, "
        f"conflict {stats.conflicts:,}, rejected {stats.rejected:,}"
    )


def bar(done: int, total: int) -> str:
    """`[#####     ]  50 %`, full at the end and never over."""
    share = min(done, total) * 100 // total
    filled = share * BAR_CHARS // 100
    return f"[{'#' * filled}{' ' * (BAR_CHARS - filled)}] {share:>3} %"
