"""`make bench-rater`, small: the book on a filled store comes to what the rater charges contract by contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
SMALL = ["--charges", "2000", "--rated", "3", "--customers", "60", "--months", "3", "--cells", "4"]


def test_the_bench_adds_up(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest", "rater-bench", *SMALL, "--folder", str(tmp_path)]

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "some contracts priced one by one: the same to the cent" in done.stdout
    assert list(tmp_path.iterdir()) == []
