"""The README is run to the letter: its blocks, in order, as a new user would paste them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from server import PenstockServer

ROOT = Path(__file__).parents[2]
KEY = "change-me-to-something-long"
URL = "http://127.0.0.1:8600"


def walk() -> str:
    """The shell blocks after the mark that the README carries for this test."""
    text = (ROOT / "README.md").read_text()
    _, _, marked = text.partition("<!-- walk:")
    return "\n".join(re.findall(r"```sh\n(.*?)```", marked, re.DOTALL))


def test_the_calls_of_the_readme_end_in_the_invoice_that_it_promises(tmp_path: Path) -> None:
    with PenstockServer(tmp_path, env={"PENSTOCK_BOOTSTRAP_API_KEY": KEY}) as server:
        url = f"http://127.0.0.1:{server.port}"
        script = walk().replace(URL, url)
        assert url in script

        done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert '"accepted":1,"duplicate":0' in done.stdout
    assert '"value":1500,"group":{"model":"atlas"}' in done.stdout
    assert '"quantity":1500,"unit_price":0.2,"total":300' in done.stdout


def test_every_file_that_the_documents_name_is_there() -> None:
    named = []
    for document in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text()
        named += re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        named += re.findall(r"`((?:tests|docs|examples|loadtest)/[\w/.-]+\.\w+)`", text)

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
