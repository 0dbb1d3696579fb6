"""Where JSON is nested how deep, by brackets and quotes alone: array operations, no Python statement per byte."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_STEP = np.zeros(256, np.int8)
_STEP[[ord("["), ord("{")]] = 1
_STEP[[ord("]"), ord("}")]] = -1


def depths(text: bytes) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """For each byte: the depth after it, and whether it is inside a string (its closing quote is not)."""
    # Escapes give way to as many other bytes; then every quote opens or closes a string.
    plain = np.frombuffer(text.replace(rb"\\", b"__").replace(rb"\"", b"__"), np.uint8)
    # The count of quotes may wrap at 256: only whether it is odd matters.
    inside = (np.cumsum(plain == ord('"'), dtype=np.uint8) & 1).astype(bool)
    step = _STEP[plain]
    step[inside] = 0
    return np.cumsum(step, dtype=np.int32), inside


def opens(text: bytes) -> int:
    """How many brackets open, in strings too: never less than the depth, and much cheaper."""
    return text.count(b"{") + text.count(b"[")


def nesting(text: bytes) -> int:
    """How deep `text` is nested at its deepest."""
    return int(depths(text)[0].max(initial=0))


def element_edges(body: bytes) -> npt.NDArray[np.int64] | None:
    """Where the elements of the array that `body` writes are cut: element k lies between edges k and k + 1.

    It looks at nothing but brackets, quotes and commas; None where they are not those of an array.
    """
    depth, inside = depths(body)
    deep = depth > 0
    if not deep.any():
        return None
    start = int(deep.argmax())
    end = len(body) - int(deep[::-1].argmax())  # of the byte that brings the depth back to 0
    if body[: start + 1].strip() != b"[" or body[end:].strip() != b"]" or inside[-1] or not deep[start:end].all():
        return None
    if not body[start + 1 : end].strip():
        return np.array([start])
    commas = np.flatnonzero((np.frombuffer(body, np.uint8) == ord(",")) & ~inside & (depth == 1))
    return np.concatenate([[start], commas, [end]])
