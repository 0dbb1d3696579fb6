"""Where JSON is nested how deep, by brackets and quotes alone: array operations, no Python statement per byte."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 2**18
_QUOTE, _COMMA = ord('"'), ord(",")
_STEP = np.zeros(256, np.int8)
_STEP[[ord("["), ord("{")]] = 1
_STEP[[ord("]"), ord("}")]] = -1


def depths(text: bytes) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """For each byte: the depth after it, and whether it is inside a string (its closing quote is not)."""
    return _depths(_without_escapes(text), 0, False)


def _without_escapes(text: bytes) -> npt.NDArray[np.uint8]:
    """Escapes give way to as many other bytes; then every quote opens or closes a string."""
    return np.frombuffer(text.replace(rb"\\", b"__").replace(rb"\"", b"__"), np.uint8)


def _depths(
    plain: npt.NDArray[np.uint8], depth: int, in_string: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The same for a stretch of the text, behind a byte of that depth."""
    # The count of quotes may wrap at 256: only whether it is odd matters.
    inside = ((np.cumsum(plain == _QUOTE, dtype=np.uint8) + np.uint8(in_string)) & 1).astype(bool)
    step = _STEP[plain]
    step[inside] = 0
    return np.cumsum(step, dtype=np.int32) + np.int32(depth), inside


def opens(text: bytes) -> int:
    """How many brackets open, in strings too: never less than the depth, and much cheaper."""
    return text.count(b"{") + text.count(b"[")


def nesting(text: bytes) -> int:
    """How deep `text` is nested at its deepest."""
    return int(depths(text)[0].max(initial=0))


def element_edges(body: bytes) -> npt.NDArray[np.int64] | None:
    """Where the elements of the array that `body` writes are cut: element k lies between edges k and k + 1.

    It looks at nothing but brackets, quotes and commas; None where they are not those of an array. By blocks that fit
    a core's cache, and no further than to where it is no array: the caller's event loop waits for a body of 32 MiB.
    """
    start, end = len(body) - len(body.lstrip()), len(body.rstrip()) - 1
    if start >= end or body[start : start + 1] != b"[" or body[end : end + 1] != b"]":
        return None
    if not body[start + 1 : end].strip():
        return np.array([start])
    plain = _without_escapes(body)
    depth, in_string = 0, False
    commas: list[npt.NDArray[np.int64]] = []
    for at in range(start, end, BLOCK_BYTES):
        block = plain[at : min(at + BLOCK_BYTES, end)]
        after, inside = _depths(block, depth, in_string)
        if not (after > 0).all():
            return None
        commas.append(np.flatnonzero((block == _COMMA) & ~inside & (after == 1)) + at)
        depth, in_string = int(after[-1]), bool(inside[-1])
    return None if in_string or depth != 1 else np.concatenate([[start], *commas, [end]])
