"""`penstock gateway`, but it kills itself by SIGKILL once the brokers have acknowledged so many chunks, `DIE_AFTER`.

A request is answered when all of its chunks are acknowledged, and the answer is made by the event loop that dies here:
so every event of the last chunk is in the log, and nobody has been told. Other chunks of the same request may be on
their way.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from penstock.app.cli import main
from penstock.kernel.ports.event_log import Appended
from penstock.kernel.record import Kind
from penstock.log.kafka import KafkaLog

DIE_AFTER = "DIE_AFTER"


def die_after(chunks: int) -> None:
    """From now on the acknowledgement of the chunk of that number is the last thing that this process hears."""
    append: Any = KafkaLog.append
    acknowledged = 0

    async def dying(log: KafkaLog, partition: int, kind: Kind, *rest: Any) -> Appended:
        nonlocal acknowledged
        appended: Appended = await append(log, partition, kind, *rest)
        if kind is Kind.CHUNK:
            acknowledged += 1
            if acknowledged == chunks:
                os.kill(os.getpid(), signal.SIGKILL)
        return appended

    KafkaLog.append = dying  # type: ignore[method-assign, assignment]  # the same, but for the end


if __name__ == "__main__":
    if DIE_AFTER in os.environ:
        die_after(int(os.environ[DIE_AFTER]))
    sys.exit(main(sys.argv[1:]))
