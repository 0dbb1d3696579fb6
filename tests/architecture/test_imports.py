"""Imports go one way, and nouns and pure verbs touch no driver: the contracts of import-linter in pyproject.toml.

That the contracts can fail at all is shown on a copy of the layout whose modules are empty but for one import.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "pyproject.toml"
CONTRACTS = tomllib.loads(CONFIG.read_text())["tool"]["importlinter"]["contracts"]


LINT = "from importlinter.cli import lint_imports_command as run; run()"


def lint(folder: Path, *options: str, path: str = "") -> tuple[bool, str]:
    """Whether the contracts in `folder` hold for what is on the path, and what import-linter says."""
    done = subprocess.run(
        [sys.executable, *options, "-c", LINT, "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode == 0, done.stdout + done.stderr


def lint_layout(layout: Path) -> tuple[bool, str]:
    """The same for a copied layout alone: without `site`, the editable install of the real one is not on the path."""
    return lint(layout, "-S", path=os.pathsep.join([str(layout), sysconfig.get_path("purelib")]))


def test_the_contracts_hold() -> None:
    holds, said = lint(REPOSITORY)

    assert holds, said
    assert "2 kept, 0 broken" in said


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Every module that a contract names, empty."""
    shutil.copy(CONFIG, tmp_path)
    layers = [name.strip("() ") for layer in CONTRACTS[0]["layers"] for name in layer.split("|")]
    for name in [*(f"{layer}.shell" for layer in layers), *CONTRACTS[1]["source_modules"]]:
        path = tmp_path / name.replace(".", "/")
        if path.is_dir():
            continue  # penstock.kernel, which is a layer too
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").touch()
    return tmp_path


def test_the_contracts_hold_for_a_layout_without_imports(layout: Path) -> None:
    holds, said = lint_layout(layout)

    assert holds, said


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("kernel/shell", "penstock.gateway.shell"),
        ("kernel/shell", "penstock.web.shell"),
        ("web/shell", "penstock.rater.shell"),
        ("rater/shell", "penstock.contracts.shell"),
        ("gateway/shell", "penstock.log.shell"),
        ("aggregator/shell", "penstock.catalog.shell"),
        ("contracts/shell", "penstock.app.shell"),
        ("kernel/shell", "sqlite3"),
        ("kernel/shell", "os"),
        ("aggregator/fold", "asyncio"),
        ("gateway/dedupe", "socket"),
        ("contracts/draw_down", "sqlite3"),
        ("rater/rate", "clickhouse_connect"),
    ],
)
def test_an_import_against_the_contracts_is_found(layout: Path, module: str, imported: str) -> None:
    (layout / "penstock" / f"{module}.py").write_text(f"import {imported}\n")

    holds, said = lint_layout(layout)

    assert not holds
    assert "1 kept, 1 broken" in said
    assert imported in said
