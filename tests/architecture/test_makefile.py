"""The Makefile: every target is there once, and no file of its name can hide it."""

from __future__ import annotations

import re
from pathlib import Path

MAKEFILE = Path(__file__).parents[2] / "Makefile"


def test_every_target_is_there_once_and_phony() -> None:
    text = MAKEFILE.read_text()
    targets = re.findall(r"^([a-z-]+):(?!=)", text, re.MULTILINE)
    [phony] = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)

    assert sorted(targets) == sorted(phony.split())
    assert len(targets) == len(set(targets))
