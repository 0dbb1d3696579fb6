"""A cell of a stopped server is falsified: the audit finds it, a rebuild mends it, and usage is right again."""

from __future__ import annotations

import contextlib
import io
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from builders import a_sum_body, an_event, rfc3339, yesterday
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.app.cli import main
from penstock.kernel.cell import Cell, CellKey
from penstock.kernel.ports.fold_store import Flush
from server import API_KEY, PenstockServer, eventually

DAY, END = yesterday(), yesterday() + timedelta(days=1)
SOURCES = ("--from-log", "--from-events")
SETTINGS = {"PENSTOCK_PARTITIONS": "2", "PENSTOCK_AUDIT_INTERVAL_MS": "100"}
EVENTS = [
    an_event(
        f"e{n}",
        at=DAY + timedelta(minutes=n % 600),
        properties={"units": Decimal(n) / 8, "region": ("eu", "us")[n % 2]},
    )
    for n in range(1_500)
]
TOTAL = sum(Decimal(n) / 8 for n in range(1_500))


def penstock(*arguments: str) -> tuple[int, str]:
    """Run a command in this process, which a start of its own would cost seconds; its exit code and what it wrote."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(arguments)
        except SystemExit as exc:  # argparse
            code = int(exc.code or 0)
    return code, said.getvalue()


def audit(server: PenstockServer, *options: str) -> tuple[int, str]:
    span = ("--from", f"{DAY:%Y-%m-%d}", "--to", rfc3339(END + timedelta(days=1)))
    where = ("--url", f"http://127.0.0.1:{server.port}", "--api-key", API_KEY)
    return penstock("audit", *span, *where, *options)


def rebuild(server: PenstockServer, partition: int, *options: str) -> tuple[int, str]:
    where = ("--data-dir", str(server.data_dir), "--partitions", "2")
    return penstock("rebuild", "--partition", str(partition), *where, *options)


def falsify(server: PenstockServer, metric_id: str) -> CellKey:
    """Write over one of the metric's cells in the store of a stopped server, as if it had always been so."""
    with closing(ClickHouseUsageStore.embedded(server.data_dir / "usage")) as store:
        key, cell = max(store.stored_cells(None, metric_id, None, None, 1).items(), key=lambda item: item[1].events)
        false = Cell(cell.events + 7, cell.value + 1_000, version=cell.version)
        store.flush(Flush((), (), (), frozenset(), {key: false}, store.markers()[1]))
    return key


def conservation_error(server: PenstockServer) -> int:
    lines = server.raw.get("/metrics").body.decode().splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith("penstock_conservation_error ")]
    return int(Decimal(value))


@pytest.mark.slow
def test_a_falsified_cell_is_found_and_mended_from_the_log_and_from_events(tmp_path: Path) -> None:
    with PenstockServer(tmp_path / "data", env=SETTINGS) as server:
        customer_id = server.client.v1.customers.create(name="Acme", ingest_aliases=["acme"]).data.id
        metric_id = server.client.v1.billable_metrics.create(**a_sum_body("units", group_keys=[["region"]])).data.id

        def total() -> dict[object, Decimal]:
            return dict(server.usage(metric_id, customer_id, DAY, END).items())

        server.raw.ingest(EVENTS[:1_000])  # stored as whole records, the rest as rows
        server.raw.ingest(EVENTS[1_000:], batch_size=100)
        server.raw.ingest(EVENTS[:100])  # dropped by the gateway or by the fold: no difference
        eventually(total, {(DAY, ()): TOTAL})
        code, said = audit(server)
        assert (code, said.endswith("audited, all add up\n")) == (0, True), said
        for source in SOURCES:
            code, said = rebuild(server, 1, source)
            assert code == 1
            assert "log.db" in said  # another process writes it: the server runs
        server.stop()
        for source in SOURCES:
            assert rebuild(server, 0, source)[0] == rebuild(server, 1, source)[0] == 0

        key = falsify(server, metric_id)
        server.start()
        assert total() == {(DAY, ()): TOTAL + 1_000}
        code, said = audit(server)
        assert code == 1
        assert f"metric {metric_id}, customer acme" in said
        assert f"group {key.groups[0]}, partition 1 as of" in said
        assert "1 differ by 7 events" in said
        assert audit(server, "--metric", metric_id, "--customer", customer_id)[0] == 1
        assert audit(server, "--customer", "nobody")[0] == 0
        eventually(lambda: conservation_error(server), 7)
        server.stop()

        mend(server, "--from-log")
        falsify(server, metric_id)
        mend(server, "--from-events")
        server.start()
        assert total() == {(DAY, ()): TOTAL}
        assert audit(server)[0] == 0
        server.raw.ingest([an_event("one-more", properties={"units": 5, "region": "eu"})])
        eventually(total, {(DAY, ()): TOTAL + 5})
        eventually(lambda: conservation_error(server), 0)
        server.stop()


def mend(server: PenstockServer, source: str) -> None:
    """The one false cell is found by a rebuild, is written only when that is asked for, and then all adds up."""
    assert rebuild(server, 0, source)[0] == 0
    code, said = rebuild(server, 1, source)
    assert (code, "1 differ by 7 events" in said) == (1, True), said
    code, said = rebuild(server, 1, source, "--swap")
    assert (code, "1 cells written" in said) == (0, True), said
    assert rebuild(server, 1, source)[0] == 0


def test_an_audit_without_an_answer_or_a_right_is_no_success(tmp_path: Path) -> None:
    with PenstockServer(tmp_path / "data") as server:
        where = ("--from", "2026-01-01", "--to", "2026-01-03", "--url", f"http://127.0.0.1:{server.port}")
        code, said = penstock("audit", *where, "--api-key", "wrong")
        assert (code, "the server answered 401" in said) == (1, True), said
        code, said = audit(server, "--metric", "nope")
        assert (code, "no billable metric nope has been folded" in said) == (1, True), said
        port = server.port
        server.stop()

    span = ("--from", "2026-01-01", "--to", "2026-01-02")
    code, said = penstock("audit", *span, "--url", f"http://127.0.0.1:{port}", "--api-key", "k")
    assert (code, "no answer from the server" in said) == (1, True), said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("audit", "--from", "2026-01-02", "--to", "2026-01-01", "--api-key", "k"), "--to must be after --from"),
        (("audit", "--from", "soon", "--to", "2026-01-01", "--api-key", "k"), "--from is not an RFC 3339 instant"),
        (("audit", "--from", "2026-01-01", "--to", "2026-01-02"), "no API key"),
        (("rebuild", "--partition", "1", "--partitions", "2"), "no Penstock data in"),
        (("rebuild", "--partition", "0", "--partitions", "none"), "invalid int value"),
        (("rebuild", "--partition", "0", "--from-log", "--from-events"), "not allowed with argument"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PENSTOCK_API_KEY", "PENSTOCK_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)

    code, said = penstock(*arguments)

    assert code in (1, 2)
    assert why in said
