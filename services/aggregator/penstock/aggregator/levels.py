"""Level-time: what a TIME_WEIGHTED_SUM holds over a span, from changes of a level. Pure and exact.

With area(x) = the sum of change x (x - its instant) over all changes before x, a span holds area(end) - area(start):
the level that a span begins with needs no cell of its own, and the parts of a span sum to it (ADR 16).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from penstock.kernel.cell import Cell
from penstock.kernel.quantity import ZERO, canonical
from penstock.kernel.window import BASE_WINDOW_US, Span, from_us, to_us

US_DIGITS = 6  # microseconds to seconds is a shift of the point: it loses nothing


def level_edges(spans: Iterable[Span]) -> list[int]:
    """Where the question for the cells is cut: the beginning of time, and the window of every edge of a span."""
    return sorted({0, *map(_window_of, _instants(spans))})


def before_edges(spans: Iterable[Span]) -> Iterable[tuple[int, Span]]:
    """Every edge that stands inside a window, with the part of the window before it."""
    for instant_us in _instants(spans):
        if instant_us != _window_of(instant_us):
            yield instant_us, Span(from_us(_window_of(instant_us)), from_us(instant_us))


def _instants(spans: Iterable[Span]) -> list[int]:
    return sorted({to_us(edge) for span in spans for edge in (span.start, span.end)})


def _window_of(instant_us: int) -> int:
    return instant_us // BASE_WINDOW_US * BASE_WINDOW_US


class _State(NamedTuple):
    """As of an instant: the changes so far, the level that they make, and the area under it in microseconds."""

    at_us: int = 0
    events: int = 0
    level: Decimal = ZERO
    area: Decimal = ZERO

    def after(self, cell: Cell, at_us: int) -> _State:
        """With the changes of a cell that begins here, at a later instant."""
        level = self.level + cell.value
        return _State(at_us, self.events + cell.events, level, self.area + level * (at_us - self.at_us) - cell.weighted)


class Levels:
    """The changes of one group: whole stretches of cells, and parts of windows before an edge."""

    def __init__(self) -> None:
        self._stretches: dict[int, Cell] = {}
        self._before: dict[int, list[Cell]] = {}

    def put(self, start_us: int, cell: Cell) -> None:
        """The changes of the stretch that starts there; `weighted` counts from its start."""
        self._stretches[start_us] = cell

    def put_before(self, edge_us: int, cell: Cell) -> None:
        """Some of the changes between the start of the edge's window and the edge."""
        self._before.setdefault(edge_us, []).append(cell)

    def over(self, spans: Sequence[Span]) -> list[tuple[Decimal, int]]:
        """For each span its level-time, in units x seconds, and how many changes it holds."""
        at_windows: dict[int, _State] = {}
        state = _State()
        edges = level_edges(spans)
        for here_us, there_us in zip(edges, [*edges[1:], edges[-1]], strict=True):
            at_windows[here_us] = state
            state = state.after(self._stretches.get(here_us, Cell()), there_us)
        at = {edge_us: self._at(at_windows[_window_of(edge_us)], edge_us) for edge_us in _instants(spans)}
        pairs = [(at[to_us(span.start)], at[to_us(span.end)]) for span in spans]
        return [(canonical((b.area - a.area).scaleb(-US_DIGITS)), b.events - a.events) for a, b in pairs]

    def _at(self, state: _State, edge_us: int) -> _State:
        part = Cell()
        for cell in self._before.get(edge_us, ()):
            part.events += cell.events
            part.value += cell.value
            part.weighted += cell.weighted
        return state.after(part, edge_us)
