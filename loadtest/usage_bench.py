"""How fast a customer-month is answered from stored cells: by day, grouped by two keys, one question at a time.

    python -m loadtest.usage_bench --cells 100000000 --partitions 16

Fills an embedded ClickHouse with cells of one metric, a stretch of time after the other as flushes do, a share of them
written twice; then asks for months of random customers as the usage service does, and prints how long it took and how
many rows were read. The second figures are of the same store after its parts were merged into one. With `--members`
the metric counts unique values: a cell is of one of so many, and a question counts them apart in every day and group.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from penstock.aggregator.store import cell_rows
from penstock.aggregator.store.clickhouse import READ, ClickHouseUsageStore
from penstock.kernel.cell import CellQuestion
from penstock.kernel.meter import Aggregation
from penstock.kernel.window import to_us

MONTH_START = datetime(2026, 6, 1, tzinfo=UTC)
DAYS, WINDOWS = 30, 30 * 96
DAY_US = 86_400_000_000
MODELS, REGIONS = 5, 4
STEP = 1_000_003  # a prime: walks all slots of a stretch without meeting one twice
REWRITTEN_EVERY = 10
WARM_UP = 5
MIB = 2**20

# One insert: cells of every customer in one stretch of windows. A slot is a window, two group values and a partition.
_FILL = """INSERT INTO cells
    SELECT 'acme', 'tokens', concat('customer-', toString(intDiv(number, {each}))),
           toDateTime({start_s} + 900 * ({first} + intDiv(slot, {groups} * {partitions})), 'UTC'),
           [concat('=model-', toString(slot % {models})),
            concat('=region-', toString(intDiv(slot, {models}) % {regions}))],
           {member}, intDiv(slot, {groups}) % {partitions}, 1 + slot % 9, toDecimal256(slot % 1000, 12), 0, '',
           {version}, toDecimal256(0, 12)
    FROM (SELECT number, (number % {each} * {step} + intDiv(number, {each})) % {slots} AS slot
          FROM numbers({customers} * {each}) WHERE number % {every} = 0)"""


class Plan(msgspec.Struct, frozen=True):
    """What is filled. Every customer has as many cells, spread evenly over windows, groups and partitions."""

    cells: int
    partitions: int
    customers: int
    inserts: int
    members: int = 0  # counted values of a UNIQUE metric; 0 is a SUM metric

    @property
    def cells_each(self) -> int:
        """Cells of one customer in one insert."""
        return self.cells // self.customers // self.inserts

    @property
    def slots(self) -> int:
        """Places for a customer's cells in one insert."""
        return WINDOWS // self.inserts * MODELS * REGIONS * self.partitions

    def statements(self) -> list[str]:
        """The inserts in order: each stretch of time, then a share of it again with a higher version."""
        member = f"concat('=user-', toString(cityHash64(number) % {self.members}))" if self.members else "''"
        out = []
        for number in range(self.inserts):
            for version, every in ((2 * number, 1), (2 * number + 1, REWRITTEN_EVERY)):
                out.append(
                    _FILL.format(
                        each=self.cells_each, start_s=int(MONTH_START.timestamp()), partitions=self.partitions,
                        first=number * (WINDOWS // self.inserts), groups=MODELS * REGIONS, models=MODELS,
                        regions=REGIONS, version=version, member=member, step=STEP, slots=self.slots,
                        customers=self.customers, every=every,
                    )
                )  # fmt: skip
        return out


def question(customer: int, aggregation: Aggregation) -> CellQuestion:
    """A customer-month by day, grouped by both keys."""
    days = tuple(to_us(MONTH_START) + day * DAY_US for day in range(DAYS + 1))
    return CellQuestion(
        "acme", "tokens", aggregation, (f"customer-{customer}",), days[0], days[-1], days, group_at=(0, 1)
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.usage_bench", description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000_000)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--customers", type=int, default=1_000)
    parser.add_argument("--inserts", type=int, default=30, help="stretches of time; each is written by two inserts")
    parser.add_argument("--members", type=int, default=0, help="measure a UNIQUE metric with so many counted values")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where the store goes; a temporary folder unless given")
    given = parser.parse_args()
    plan = Plan(given.cells, given.partitions, given.customers, given.inserts, given.members)
    if not 0 < plan.cells_each <= plan.slots or WINDOWS % plan.inserts:
        parser.error(f"a customer has {plan.cells_each} cells for {plan.slots} places in an insert")
    folder = Path(tempfile.mkdtemp(prefix="usage-", dir=given.folder))
    try:
        run(folder, plan, given.questions)
    finally:
        shutil.rmtree(folder)
    return 0


def run(folder: Path, plan: Plan, questions: int) -> None:
    store = ClickHouseUsageStore.embedded(folder / "usage")
    client = store._connect()
    try:
        fill(client, plan)
        _say(stored(client))
        ask(store, client, plan, questions)
        client.command("OPTIMIZE TABLE cells FINAL")
        _say("parts merged: " + stored(client))
        ask(store, client, plan, questions)
    finally:
        client.close()
        store.close()


def fill(client: Any, plan: Plan) -> None:
    began = time.perf_counter()
    statements = plan.statements()
    for number, statement in enumerate(statements, 1):
        client.command(statement)
        rate = plan.cells * number / len(statements) / (time.perf_counter() - began)
        _say(f"\r  insert {number} of {len(statements)}, {rate:,.0f} cells/s ", end="")
    _say("")


def stored(client: Any) -> str:
    sql = "SELECT count(), sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'cells'"
    [(parts, rows, size)] = client.query(sql).result_rows
    return f"{rows:,} rows in {parts} parts, {size // MIB:,} MiB, {size / rows:.1f} bytes a row"


def ask(store: ClickHouseUsageStore, client: Any, plan: Plan, questions: int) -> None:
    chance = random.Random(7)
    aggregation = Aggregation.UNIQUE if plan.members else Aggregation.SUM
    asked = [question(chance.randrange(plan.customers), aggregation) for _ in range(WARM_UP + questions)]
    took_ms, answered, cpu_began = [], 0, 0.0
    for number, each in enumerate(asked):
        if number == WARM_UP:
            cpu_began = time.process_time()
        began = time.perf_counter()
        answer = store.read_cells(each)
        took_ms.append((time.perf_counter() - began) * 1_000)
        answered = len(answer.rows)
    cpu_ms = (time.process_time() - cpu_began) * 1_000 / questions
    took_ms = sorted(took_ms[WARM_UP:])
    sql, parameters = cell_rows.question_sql(asked[-1])
    estimate = client.query("EXPLAIN ESTIMATE " + sql, parameters=parameters, settings=READ)
    read = sum(row[estimate.column_names.index("rows")] for row in estimate.result_rows)
    p50, p99 = (took_ms[int(len(took_ms) * share)] for share in (0.5, 0.99))
    _say(f"  p50 {p50:.1f} ms, p99 {p99:.1f} ms, fastest {took_ms[0]:.1f} ms, {cpu_ms:.1f} ms of CPU each")
    _say(f"  {read:,} rows read, {answered:,} rows answered")


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
