"""What the gateway does once before it takes events."""

from __future__ import annotations

import subprocess
import sys

from penstock.gateway.warm_up import warm_up
from penstock.kernel.chunk import Chunk
from penstock.kernel.record import LogIdentity

LOG = LogIdentity("log-1", 1, b"k" * 32)
FIRST_EVENT = """
import asyncio, sys
from penstock.gateway.ingest import Gateway
from penstock.kernel.clock import SystemClock
from penstock.log.memory import MemoryLog

async def main():
    clock = SystemClock()
    gateway = Gateway(MemoryLog(), clock)
    await gateway.start()
    before = set(sys.modules)
    event = '[{"transaction_id": "a", "customer_id": "c", "event_type": "t", "timestamp": "%s"}]'
    body = event % clock.now().isoformat()
    answer = await gateway.ingest("acme", body.encode())
    assert answer.accepted == 1, answer
    print(*sorted(set(sys.modules) - before))
    await gateway.drain()

asyncio.run(main())
"""


def test_it_goes_the_whole_way_to_a_record() -> None:
    [piece] = warm_up(LOG).pieces

    assert Chunk.decode(piece.payload).ids() == ["1"]


def test_the_first_event_loads_no_module() -> None:
    run = subprocess.run([sys.executable, "-c", FIRST_EVENT], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.split() == []
