"""The smoke profile: a real server under load for twenty seconds, every impurity on, and usage equals the truth."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from loadtest.__main__ import main
from loadtest.report import Report

from server import API_KEY, PenstockServer

pytestmark = pytest.mark.slow


def test_usage_under_load_is_what_was_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "smoke.json"

    code = main(["run", "--profile", "smoke", "--out", str(out)])

    assert code == 0, capsys.readouterr().out
    report = msgspec.json.decode(out.read_bytes(), type=Report)
    assert report.verdict.adds_up
    assert report.counts.events == 60_000
    assert report.counts.sent == 60_000 + 3_000 + 1_200
    assert set(report.processes) == {"client", "server"}


@pytest.mark.parametrize("protocol", ["grpc", "grpc-arrow", "ndjson", "arrow"])
def test_usage_is_the_truth_over_every_protocol(
    shared_server: PenstockServer, protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ["--target", f"http://127.0.0.1:{shared_server.port}", "--api-key", API_KEY]
    target += ["--grpc-target", f"127.0.0.1:{shared_server.grpc_port}"]
    options = ["--profile", "smoke", "--duration", "2", "--protocol", protocol, "--customers", "3"]

    code = main(["run", *target, *options, "--out", str(tmp_path / "run.json")])

    assert code == 0, capsys.readouterr().out
