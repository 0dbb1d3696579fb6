"""`penstock price FILE|-`: what any price makes of any usage, part by part, without a server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from penstock.kernel.problems import Problem
from penstock.rater.price_answer import price_anything, view
from penstock.rater.pricing.catalogue import models_table

DONE, REFUSED = 0, 2
_PART_COLUMNS = ("part", "quantity", "x unit price", "+ flat fee", "= amount")


def add_price_command(commands: Any) -> None:
    """Add `price` to an argument parser's sub-commands."""
    parser = commands.add_parser(
        "price",
        help="say what a price makes of a quantity, and why",
        description="Read a price, a currency and a quantity, groups or events as JSON, or the explanation of an "
        "amount, and print the amount with all its parts (docs/pricing.md). No server is asked. Exit code 0, or 2 for "
        "what is refused by name.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", metavar="FILE|-", help="the JSON, or - for the standard input")
    what.add_argument("--models", action="store_true", help="print every price model with its parameters")
    parser.add_argument("--json", action="store_true", help="print what POST /v1/price answers")


def price(given: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if given.models:
        sys.stdout.write(models_table())
        return DONE
    try:
        body = sys.stdin.buffer.read() if given.file == "-" else Path(given.file).read_bytes()
        told = view(price_anything(body))
    except Problem as exc:
        return _refused(exc.detail if exc.field is None else f"{exc.field}: {exc.detail}")
    except OSError as exc:
        return _refused(str(exc))
    shown = msgspec.json.format(msgspec.json.encode(told)).decode() if given.json else "\n".join(_lines(told))
    sys.stdout.write(shown + "\n")
    return DONE


def _lines(told: dict[str, Any]) -> Iterator[str]:
    """The answer for people: the parts as a table, then how they come to the amount."""
    explanation = told["explanation"]
    currency = told["currency"] if isinstance(told["currency"], str) else told["currency"]["name"]
    rounding = explanation["rounding"]
    yield f"model     {explanation['price']['model']}"
    if "before" in explanation:
        yield f"before    {_used(explanation['before'])}"
    yield f"used      {_used(explanation['used'])}"
    yield ""
    yield from _table([_PART_COLUMNS, *map(_row, explanation["parts"])])
    yield ""
    yield f"exact     {told['exact']}"
    yield f"rounding  {rounding['difference']} ({rounding['mode']}, to {rounding['step']})"
    yield f"amount    {told['amount']} {currency}"


def _used(used: dict[str, Any]) -> str:
    [(what, value)] = used.items()
    return str(value) if what == "quantity" else f"{len(value)} {what}"


def _row(part: dict[str, Any]) -> tuple[str, ...]:
    key = "/".join("-" if name is None else name for name in part.get("key", ()))
    name = " ".join(str(word) for word in (part["what"], part.get("level", ""), key) if word)
    return name, part["quantity"], part["unit_price"] or "", part.get("flat", ""), part["amount"]


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Names to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        figures = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join([row[0].ljust(widths[0]), *figures])


def _refused(why: str) -> int:
    sys.stderr.write(f"penstock price: {' '.join(why.split())}\n")
    return REFUSED
