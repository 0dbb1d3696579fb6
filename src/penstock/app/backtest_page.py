"""A backtest as one page that stands alone: totals, months, who pays more and who less. No script, nothing loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from html import escape

from penstock.app.backtest_result import Result, Row, Total, by_difference, months, totals

WIDTH, HEIGHT, MARGIN = 720, 240, 30
CURVE_POINTS_MAX = 500  # of many contracts every so-and-so many is drawn
LISTED = 20
_STYLE = """
:root { color-scheme: light dark; --old: #8a8f98; --new: #1f77b4; --up: #d9730d; --down: #2a9d4a; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; } figure { margin: 1rem 0; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: currentColor; text-anchor: middle; }
.axis { stroke: #8888; } .old { fill: var(--old); } .new { fill: var(--new); } .up { fill: var(--up); }
.key-old { color: var(--old); } .key-new { color: var(--new); }
.down { fill: var(--down); } table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .1rem 1rem .1rem 0; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
"""


def page(result: Result) -> str:
    """The page's HTML."""
    start, end = (str(result.asked[name])[:10] for name in ("starting_on", "ending_before"))
    title = f"Backtest, billing periods that begin from {start} to {end}"
    body = "".join(part for total in totals(result.rows) for part in _currency(result, total))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{body or '<p>No contract has a billing period in this time.</p>'}</body></html>\n"
    )


def _currency(result: Result, total: Total) -> Iterator[str]:
    rows = [row for row in result.rows if row.currency == total.currency]
    ordered = by_difference(rows)
    yield f"<h2>{escape(total.currency)}</h2><table>"
    for name, figure in (
        ("contracts", total.contracts),
        ("dearer by the draft", total.dearer),
        ("cheaper by the draft", total.cheaper),
        ("old", total.old),
        ("new", total.new),
        ("difference", total.difference),
    ):
        yield f'<tr><th>{name}</th><td class="n">{figure:,}</td></tr>'
    yield "</table>"
    yield _months(rows)
    yield _curve(ordered)
    yield _table("Falls most", [row for row in ordered if row.difference < 0][:LISTED])
    yield _table("Rises most", [row for row in reversed(ordered) if row.difference > 0][:LISTED])


def _months(rows: Sequence[Row]) -> str:
    """A pair of bars for each month."""
    found = months(rows)
    base, per_unit = _scale([amount for pair in found.values() for amount in pair])
    slot = (WIDTH - 2 * MARGIN) // max(len(found), 1)
    parts = []
    for number, (month, pair) in enumerate(found.items()):
        left = MARGIN + number * slot
        parts.append(f'<text x="{left + slot // 2}" y="{HEIGHT - 8}">{month}</text>')
        for place, (name, amount) in enumerate(zip(("old", "new"), pair, strict=True)):
            x, width = left + slot * (1 + 4 * place) // 10, slot * 4 // 10
            parts.append(_bar(name, x, width, base, int(amount * per_unit), f"{month} {name}: {amount:,}"))
    caption = 'Charges by month: <span class="key-old">old</span> and <span class="key-new">new</span>'
    return _figure(caption, base, parts)


def _curve(ordered: Sequence[Row]) -> str:
    """The difference of every contract, from the one that falls most to the one that rises most."""
    step = -(-len(ordered) // CURVE_POINTS_MAX)
    drawn = [*ordered[:-1:step], ordered[-1]]
    base, per_unit = _scale([row.difference for row in drawn])
    parts = []
    for number, row in enumerate(drawn):
        x = MARGIN + (WIDTH - 2 * MARGIN) * number // len(drawn)
        width = max((WIDTH - 2 * MARGIN) // len(drawn), 1)
        name = "up" if row.difference > 0 else "down"
        title = f"{row.customer_name}: {row.difference:,}"
        parts.append(_bar(name, x, width, base, int(row.difference * per_unit), title))
    return _figure(f"Difference of each of {len(ordered):,} contracts", base, parts)


def _scale(amounts: Sequence[Decimal]) -> tuple[int, Decimal]:
    """Where zero is drawn, and how many points high an amount of 1 is. Only for drawing: not exact."""
    highest, lowest = max([Decimal(0), *amounts]), min([Decimal(0), *amounts])
    room = HEIGHT - 2 * MARGIN
    per_unit = room / (highest - lowest) if highest > lowest else Decimal(0)
    return MARGIN + int(highest * per_unit), per_unit


def _bar(name: str, x: int, width: int, base: int, height: int, title: str) -> str:
    top = base - max(height, 0)
    return (
        f'<rect class="{name}" x="{x}" y="{top}" width="{width}" height="{max(abs(height), 1)}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _figure(caption: str, base: int, parts: Sequence[str]) -> str:
    axis = f'<line class="axis" x1="{MARGIN}" y1="{base}" x2="{WIDTH - MARGIN}" y2="{base}"/>'
    return (
        f'<figure><figcaption>{caption}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"{''.join(parts)}{axis}</svg></figure>"
    )


def _table(title: str, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td>{escape(row.customer_name)}</td><td>{escape(row.contract_id)}</td>"
        f'<td class="n">{row.old:,}</td><td class="n">{row.new:,}</td><td class="n">{row.difference:,}</td></tr>'
        for row in rows
    )
    heads = "".join(f"<th>{head}</th>" for head in ("customer", "contract", "old", "new", "difference"))
    return f"<h2>{title}</h2><table><tr>{heads}</tr>{lines}</table>"
