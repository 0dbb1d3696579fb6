"""`penstock repartition` of a real server's folder, killed in the midst of it: figures, copies and audit go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import reference
from builders import Body, a_metric_body, a_sum_body, an_event, rfc3339, yesterday
from server import PenstockServer, eventually

DAY, END = yesterday(), yesterday() + timedelta(days=1)
BODIES = {
    "units": a_sum_body("units", group_keys=[["region"]]),
    "most": a_metric_body("most", "MAX", aggregation_key="units", group_keys=[["region"]]),
}
EVENTS = [
    an_event(
        f"e{n}",
        at=DAY + timedelta(minutes=n % 1_300),
        properties={"units": Decimal(n % 97) / 8, "region": ("eu", "us", None)[n % 3]},
    )
    for n in range(1_300)
]
OLD, NEWER = EVENTS[:900], EVENTS[900:]
FORGETFUL = {"PENSTOCK_DEDUPE_IDS_MAX": "0"}  # a gateway that leaves every copy to the aggregator


def penstock(server: PenstockServer, partitions: int, crash_at: str = "") -> tuple[int, str]:
    """Run the command; return its exit code and all that it wrote."""
    environment = os.environ | ({"PENSTOCK_CRASH_AT": crash_at} if crash_at else {})
    command = ["repartition", "--partitions", str(partitions), "--data-dir", str(server.data_dir)]
    ran = subprocess.run(
        [sys.executable, "-m", "penstock", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def start_refused(server: PenstockServer) -> str:
    """What the server says that must not start with two partitions."""
    environment = os.environ | {"PENSTOCK_PARTITIONS": "2"}
    ran = subprocess.run(server._command(), env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 1
    return ran.stdout


def define(server: PenstockServer, name: str) -> str:
    answer = server.raw.post("/v1/billable-metrics/create", BODIES[name])
    assert answer.status == 200, answer
    return str(answer.json["data"]["id"])


def figures(server: PenstockServer, metric_id: str) -> dict[tuple[datetime, tuple[str | None, ...]], Decimal]:
    [customer] = server.raw.get("/v1/customers").json["data"]
    return server.usage(metric_id, customer["id"], DAY, END, "HOUR", ["region"])


def expected(name: str, events: list[Body]) -> dict[tuple[datetime, tuple[str | None, ...]], Decimal | None]:
    found = reference.usage(BODIES[name], events, DAY, END, "HOUR", by=("region",))
    return {key: value for key, value in found.items() if value}


@pytest.mark.slow
def test_a_folder_is_repartitioned_by_a_command_that_is_killed(tmp_path: Path) -> None:
    with PenstockServer(tmp_path / "data", env=FORGETFUL | {"PENSTOCK_PARTITIONS": "2"}) as server:
        server.client.v1.customers.create(name="Acme", ingest_aliases=["acme"])
        units = define(server, "units")
        server.raw.ingest(OLD, 900)
        eventually(lambda: figures(server, units), expected("units", OLD))
        assert "in use by another process" in penstock(server, 3)[1]
        server.kill9()  # some of it may not be folded

        assert penstock(server, 3, "sealed:1")[0] == -signal.SIGKILL
        assert "the log is sealed: finish with penstock repartition --partitions 3" in start_refused(server)
        assert "sealed for one of 3 partitions, not 5" in penstock(server, 5)[1]
        assert penstock(server, 3, "followed:1")[0] == -signal.SIGKILL
        assert "log.db has 3 partitions, not 2" in start_refused(server)
        assert penstock(server, 3) == (0, "the log has 3 partitions\nset PENSTOCK_PARTITIONS=3 and start\n")

        server.start({"PENSTOCK_PARTITIONS": "3"})
        assert figures(server, units) == expected("units", OLD)
        server.raw.ingest([*OLD, *NEWER])
        most = define(server, "most")
        eventually(lambda: server.outcomes()["duplicate"], len(OLD))
        eventually(lambda: figures(server, units), expected("units", [*OLD, *NEWER]))
        eventually(lambda: figures(server, most), expected("most", [*OLD, *NEWER]))
        assert server.outcomes()["counted"] == len(EVENTS)
        body = {"starting_on": rfc3339(DAY), "ending_before": rfc3339(END + timedelta(days=1))}
        audited = server.raw.post("/v1/audit", body).json["data"]
        assert (audited["differing_cells"], audited["cells"] > 0) == (0, True)
        [fate] = [server.raw.get("/v1/transactions/e3").json["data"]]
        assert (fate["status"], fate["accepted"]["partition"] in (0, 1)) == ("COUNTED", True)
        assert fate["dropped"]["DUPLICATE"]["events"] == 1
        assert server.raw.get("/readyz").status == 200
        server.stop()
