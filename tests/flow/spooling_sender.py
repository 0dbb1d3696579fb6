"""A program that sends numbered events through a spool, made to be killed: `test_client.py` runs it.

It writes the number of every event that `send` has taken, a line each. `die_at` is `CALL:N:SHARE`: at the Nth such call
of the operating system it does SHARE per cent of it, where a part can be done, and kills itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from penstock.client import spool as spool_module
from penstock.client.backoff import Backoff
from penstock.client.client import Client

SEGMENT_BYTES_MAX = 4_000  # some 25 events, so that segments come and go
PENDING_MAX = 60  # while the server answers: writes, answers and deletions take turns


def main() -> None:
    spool_module.SEGMENT_BYTES_MAX = SEGMENT_BYTES_MAX
    url, key, spool, customer, timestamp, first, below, die_at = sys.argv[1:]
    if die_at:
        call, at, share = die_at.split(":")
        die_in(call, int(at), int(share))
    backoff = Backoff(first_ms=1, longest_ms=20)
    client = Client(url, key, spool=Path(spool), batch_events_max=20, linger_ms=1, backoff=backoff)
    for n in range(int(first), int(below)):
        event = {"transaction_id": f"{customer}-{n}", "customer_id": customer, "event_type": "llm_call"}
        client.send(event, timestamp=timestamp, properties={"n": n})
        os.write(1, b"%d\n" % n)
        while (stats := client.stats).pending > PENDING_MAX and stats.last_error is None:
            time.sleep(0.001)
    assert client.flush(60)
    sys.stdout.write(json.dumps({"recovered": client.stats.recovered}) + "\n")
    client.close()


def die_in(call: str, at: int, share: int) -> None:
    """Replace a call by one that kills this process when it is made for the `at`th time."""
    real: Any = getattr(os, call)
    made = 0

    def killing(*arguments: Any) -> Any:
        nonlocal made
        made += 1
        if made == at:
            if call == "pwrite":
                file, data, place = arguments
                real(file, data[: len(data) * share // 100], place)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    setattr(os, call, killing)


if __name__ == "__main__":
    main()
