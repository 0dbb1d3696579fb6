"""The compose file names only settings that the table has, so that none is spelled wrong and does nothing."""

from __future__ import annotations

import re
from pathlib import Path

from penstock.app.settings import page

DEPLOY = Path(__file__).parents[3] / "deploy"


def test_every_variable_of_the_compose_file_and_the_image_is_a_setting() -> None:
    texts = [(DEPLOY / name).read_text() for name in ("compose.yaml", "Dockerfile")]
    named = {name for text in texts for name in re.findall(r"PENSTOCK_[A-Z_]+", text)}

    known = set(re.findall(r"PENSTOCK_[A-Z_]+", page()))

    assert "PENSTOCK_EVENT_LOG" in named
    assert named <= known
