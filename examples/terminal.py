"""What the demo prints: headings, aligned tables and progress, on a terminal or in a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal

_LINE_EVERY = 4  # lines of progress where nothing can be overwritten


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def heading(text: str) -> None:
    say()
    say(text)
    say("-" * len(text))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> None:
    """The first `texts` columns are aligned to the left, figures to the right. An empty row is a rule."""
    filled = [headings, *(row for row in rows if row)]
    widths = [max(len(row[column]) for row in filled) for column in range(len(headings))]
    for row in (headings, (), *rows):
        cells = list(zip(row or ["-" * width for width in widths], widths, strict=True))
        left = [text.ljust(width) for text, width in cells[:texts]]
        right = [text.rjust(width) for text, width in cells[texts:]]
        say("  " + "  ".join((*left, *right)).rstrip())


def number(value: Decimal | int) -> str:
    """With separators, and the digits after the point that it has."""
    return f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"


def dollars(cents: Decimal | int) -> str:
    return f"{Decimal(cents).scaleb(-2):,.2f}"


class Progress:
    """A counter: one line that is written over on a terminal, a few lines elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._overwrites = sys.stdout.isatty()

    def add(self, count: int) -> None:
        before, self._done = self._done, self._done + count
        text = f"  {self._what} {self._done:>{len(number(self._total))},} of {number(self._total)}"
        if self._overwrites:
            sys.stdout.write("\r" + text + ("\n" if self._done == self._total else ""))
            sys.stdout.flush()
        elif before * _LINE_EVERY // self._total < self._done * _LINE_EVERY // self._total:
            say(text)
