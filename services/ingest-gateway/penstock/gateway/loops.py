"""The compiled loops of this process: there before the gateway opens its doors, or once it has enough to do.

Loading them takes about a second of CPU, the first time on a machine some ten, and 40 MiB. Until they are there, and
for whatever they do not take, msgspec and hashlib do the same work. (docs/adr/0021)
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.kernel.identity import BodyHashes, Identities

NEVER = 2**63  # until told otherwise: tools and tests use a gateway without a process around it
THREAD_NAME = "penstock-compiler"
# To import them is to load them.
PACKAGE, MODULES = "penstock.gateway.compiled", ("envelopes", "gather", "blake2b", "xxh64")

Edges = npt.NDArray[np.int32]  # shape (n + 1,): where n texts are cut out of bytes that are joined
Data = npt.NDArray[np.uint8]
Spans = npt.NDArray[np.int32]  # shape (n, 10): where the fields of n events start and end in a body

logger = logging.getLogger(__name__)


class Compiled(NamedTuple):
    """Loops over bytes, outside the interpreter's lock."""

    envelopes: Callable[[bytes, int], Spans | None]
    values: Callable[[Edges, Data], bool]
    gathered: Callable[[bytes, Spans, int], tuple[Edges, Data]]
    digests: Callable[[bytes, bytes, Edges, Data], Identities]
    hashes: Callable[[Edges, Data], BodyHashes]


class Loops:
    """`compiled` is None until `load` has ended. One instance for the process: machine code is the process's too."""

    def __init__(self) -> None:
        self.compiled: Compiled | None = None
        self._bytes_left = NEVER
        self._lock = threading.Lock()

    def load_after(self, body_bytes: int) -> None:
        """Load in a thread when that much was `seen`. Called in one thread, as `seen` is."""
        self._bytes_left = body_bytes

    def seen(self, body_bytes: int) -> None:
        """Count what the gateway takes."""
        before, self._bytes_left = self._bytes_left, self._bytes_left - body_bytes
        if before > 0 >= self._bytes_left:
            threading.Thread(target=self.load, name=THREAD_NAME, daemon=True).start()

    def load(self) -> Compiled:
        """Compile, or read what was compiled before. Idempotent."""
        with self._lock:
            if self.compiled is None:
                envelopes, gather, blake2b, xxh64 = (import_module(f"{PACKAGE}.{name}") for name in MODULES)
                self.compiled = Compiled(
                    envelopes.envelopes, envelopes.values, gather.gathered, blake2b.digests, xxh64.hashes
                )
                logger.info("the gateway's loops are compiled")
            return self.compiled


LOOPS = Loops()
