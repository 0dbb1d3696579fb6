"""A line chart as inline SVG: axes with round numbers, a legend, values under the pointer. No script, no library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 76, 14, 14, 40
TICKS = 5
TITLED_POINTS_MAX = 400  # beyond it, values under the pointer would make the page large
Line = Sequence[tuple[float, float]]


def plain(value: float) -> str:
    """A number for an axis: 1,500 or 0.25."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def line_chart(
    title: str,
    unit: str,
    lines: Mapping[str, Line],
    *,
    x_title: str = "seconds",
    x_labels: Sequence[tuple[float, str]] | None = None,
    y_text: Callable[[float], str] = plain,
) -> str:
    """One chart. `x_labels` places the labels of the x axis by hand, else they are round numbers from zero."""
    shown = {name: line for name, line in lines.items() if line}
    if not shown:
        return f"<figure><figcaption>{escape(title)}: nothing was measured</figcaption></figure>"
    y_step, y_max = _scale(max(y for line in shown.values() for _, y in line))
    x_most = max(x for line in shown.values() for x, _ in line)
    x_step, x_max = _scale(x_most)
    if x_labels is None:
        x_labels = [(i * x_step, plain(i * x_step)) for i in range(round(x_max / x_step) + 1)]
    else:
        x_max = max(x_most, *(x for x, _ in x_labels)) or 1.0
    place = _place(x_max, y_max)
    parts = [*_grid(x_labels, y_step, y_max, place, y_text), *_axis_titles(x_title, unit)]
    for number, (name, line) in enumerate(shown.items()):
        parts += _line(name, line, number, place, y_text)
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(title)}{_legend(list(shown))}</figcaption>{drawing}</figure>"


Place = Callable[[float, float], tuple[float, float]]


def _place(x_max: float, y_max: float) -> Place:
    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / x_max
        return round(across, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / y_max, 1)

    return place


def _scale(greatest: float) -> tuple[float, float]:
    """A round step of 1, 2 or 5 times a power of ten, and the first multiple of it at or above `greatest`."""
    if greatest < 1e-9:  # nothing, as far as a drawing shows
        return 1.0, 1.0
    rough = greatest / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return step, step * math.ceil(greatest / step - 1e-9)


def _grid(
    x_labels: Sequence[tuple[float, str]], y_step: float, y_max: float, place: Place, y_text: Callable[[float], str]
) -> list[str]:
    parts = []
    for number in range(round(y_max / y_step) + 1):
        _, y = place(0, number * y_step)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{escape(y_text(number * y_step))}</text>')
    for value, label in x_labels:
        x, y = place(value, 0)
        parts.append(f'<text x="{x}" y="{y + 16}" text-anchor="middle">{escape(label)}</text>')
    return parts


def _axis_titles(x_title: str, unit: str) -> list[str]:
    middle = (HEIGHT - BOTTOM + TOP) / 2
    return [
        f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>',
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(unit)}</text>',
    ]


def _line(name: str, line: Line, number: int, place: Place, y_text: Callable[[float], str]) -> list[str]:
    spots = [place(x, y) for x, y in line]
    parts = [f'<polyline class="s{number}" points="{" ".join(f"{x},{y}" for x, y in spots)}"/>']
    if len(line) <= TITLED_POINTS_MAX:
        for (x, y), (at, value) in zip(spots, line, strict=True):
            title = escape(f"{name}: {y_text(value)} at {plain(at)}")
            parts.append(f'<circle class="s{number}" cx="{x}" cy="{y}" r="4"><title>{title}</title></circle>')
    return parts


def _legend(names: list[str]) -> str:
    return "".join(f' <span class="key s{number}">{escape(name)}</span>' for number, name in enumerate(names))
