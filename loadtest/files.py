"""Where results lie: JSON to be committed, and next to it the page that draws it, which git leaves alone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
from loadtest.page import page
from loadtest.report import FORMAT, Report

RESULTS = Path(__file__).parent / "results"


def write_report(report: Report, out: Path | None) -> tuple[Path, Path]:
    """Write the JSON and its page; return where they are."""
    if out is None:
        at = datetime.fromisoformat(report.started_at)
        options = report.options
        out = RESULTS / f"{at:%Y%m%d-%H%M%S}-{options.profile}-{options.protocol}-{options.batch}.json"
    drawn = out.with_suffix(".html")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(msgspec.json.encode(report) + b"\n")
    drawn.write_text(page(report))
    return out, drawn


def read_report(file: Path) -> Report:
    """Raise `ValueError` for a file that is no report of this format."""
    try:
        report = msgspec.json.decode(file.read_bytes(), type=Report)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"{file} is no report of a run: {exc}") from exc
    if report.format != FORMAT:
        raise ValueError(f"{file} has format {report.format}; this version reads {FORMAT}")
    return report
