"""`penstock price`: a table or JSON from a file or the standard input, one line for what is wrong, and its page."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.app.cli import main
from penstock.rater.pricing.catalogue import models_table

PAGE = (Path(__file__).parents[3] / "docs" / "pricing.md").read_text()


def example(kind: str) -> str:
    """The page's example of a kind."""
    [text] = re.findall(rf"```\w+ {kind}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["price", *arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture
def request_file(tmp_path: Path) -> str:
    path = tmp_path / "request.json"
    path.write_text(example("request"))
    return str(path)


def test_the_pages_request_prints_the_pages_table(request_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, table = example("command").split("\n", 1)

    assert (0, table, "") == run(capsys, request_file)


def test_the_pages_request_has_the_pages_answer_as_json(request_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, request_file, "--json")

    assert (0, json.loads(example("answer")), "") == (code, json.loads(out), err)


def test_an_explanation_from_the_standard_input_prints_the_same_table(
    request_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    explanation = json.loads(run(capsys, request_file, "--json")[1])["explanation"]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(explanation).encode())))

    assert run(capsys, request_file) == run(capsys, "-")


def test_groups_flat_fees_and_a_unit_of_ones_own_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "request.json"
    tiers = [{"up_to": None, "unit_price": "0.333", "flat": 2}]
    groups = [{"values": {"region": region}, "quantity": 1} for region in ("west", "east")]
    body: dict[str, Any] = {"price": {"model": "GRADUATED", "tiers": tiers}, "groups": groups}
    path.write_text(json.dumps({**body, "currency": {"name": "credits", "decimals": 1}}))

    _, out, _ = run(capsys, str(path))

    assert ["used", "2", "groups"] in [line.split() for line in out.splitlines()]
    assert ["tier", "1", "2", "0.333", "2", "2.666"] in [line.split() for line in out.splitlines()]
    assert out.endswith("rounding  0.034 (half away from zero, to 0.1)\namount    2.7 credits\n")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('{"price": {"model": "PER_UNIT"}, "quantity": 1}', "price.unit_price: this field is required"),
        ('{"price": {"model": "PER_UNIT", "unit_price": 1}}', "quantity: one of quantity, groups and events is needed"),
        ("[]", "Expected `object`, got `array`"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, line: str
) -> None:
    path = tmp_path / "request.json"
    path.write_text(body)

    assert (2, "", f"penstock price: {line}\n") == run(capsys, str(path))


def test_a_file_that_is_not_there_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, str(tmp_path / "none.json"))

    assert (code, out) == (2, "")
    assert "none.json" in err
    assert err.count("\n") == 1


def test_the_page_lists_the_models_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert (0, models_table(), "") == run(capsys, "--models")
    assert PAGE.endswith(models_table()), "put what `penstock price --models` prints at the end of docs/pricing.md"
