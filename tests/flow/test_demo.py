"""The demo is what a new user sees first: it ends well, its figures are the right ones, and a wrong one fails it."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from examples import demo, vendor_day

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_the_demo_ends_well_and_prints_exact_totals() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    printed = [line.split() for line in done.stdout.splitlines()]
    for expected in (
        "sent 26,460 of 26,460",
        "Adds up exactly: 26,460 = 24,600 + 1,800 + 60.",
        "Total 24,600 54,000,570 19,470,149 78,767.395",
        "1 Launch credit 10.00 -10.00 0.00",
        "2 Prepaid commit 250.00 -98.97 151.03",
        "Acme Robotics FINALIZED 148.66 -108.97 39.69",
        "Birch Analytics FINALIZED 125.67 0.00 125.67",
        "Cobalt Health FINALIZED 65.89 0.00 65.89",
        "Delta Games FINALIZED 45.18 0.00 45.18",
        "Total 385.40 -108.97 276.43",
        "tier 1 1,500,000 x 0.000024 = 36.00",
        "tier 2 2,803,423 x 0.000018 = 50.46",
        "amount 86.461614, rounded once to 86.46",
    ):
        assert expected.split() in printed, done.stdout
    assert sum(line.startswith("  Adds up exactly") for line in done.stdout.splitlines()) == 7


def test_a_figure_that_is_not_the_truth_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(vendor_day.MEASURES, "GPU seconds", lambda event: Decimal(event.gpu_ms + 1).scaleb(-3))

    assert demo.main([]) == 1

    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("DOES NOT ADD UP: GPU seconds by day, ")
