"""XXH64 of a whole column of texts, as the library `xxhash` has it: what tells a conflict from a duplicate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from penstock.gateway.compiled.compiler import BYTES, INT, INTS, NEW_WORDS, WORD, compiled
from penstock.gateway.loops import Data, Edges
from penstock.kernel.identity import BodyHashes

PRIME_1 = np.uint64(0x9E3779B185EBCA87)
PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
PRIME_3 = np.uint64(0x165667B19E3779F9)
PRIME_4 = np.uint64(0x85EBCA77C2B2AE63)
PRIME_5 = np.uint64(0x27D4EB2F165667C5)
STRIPE, WORD_BYTES, HALF = 32, 8, 4

Words = npt.NDArray[np.uint64]


def hashes(edges: Edges, data: Data) -> BodyHashes:
    """The hash of each text that `edges` cut out of `data`."""
    found = np.empty(len(edges) - 1, np.uint64)
    hash_each(data, edges, found)
    return found


@compiled(WORD, WORD, INT)
def rotated(word: np.uint64, bits: int) -> np.uint64:
    """To the left."""
    return word << np.uint64(bits) | word >> np.uint64(64 - bits)


@compiled(WORD, BYTES, INT, INT)
def number(data: Data, at: int, length: int) -> np.uint64:
    """So many bytes as a number, the lowest first."""
    found = np.uint64(0)
    for place in range(length):
        found |= np.uint64(data[np.uint64(at + place)]) << np.uint64(8 * place)
    return found


@compiled(WORD, WORD, WORD)
def taken(lane: np.uint64, word: np.uint64) -> np.uint64:
    """A lane that has taken a word."""
    return rotated(lane + word * PRIME_2, 31) * PRIME_1


@compiled(WORD, BYTES, INT, INT)
def hash_text(data: Data, at: int, end: int) -> np.uint64:
    """The hash of data[at:end]."""
    length = np.uint64(end - at)
    mixed = PRIME_5
    if end - at >= STRIPE:
        a, b, c, d = PRIME_1 + PRIME_2, PRIME_2, np.uint64(0), np.uint64(0) - PRIME_1
        while end - at >= STRIPE:
            a = taken(a, number(data, at, WORD_BYTES))
            b = taken(b, number(data, at + 8, WORD_BYTES))
            c = taken(c, number(data, at + 16, WORD_BYTES))
            d = taken(d, number(data, at + 24, WORD_BYTES))
            at += STRIPE
        mixed = rotated(a, 1) + rotated(b, 7) + rotated(c, 12) + rotated(d, 18)
        for lane in (a, b, c, d):
            mixed = (mixed ^ taken(np.uint64(0), lane)) * PRIME_1 + PRIME_4
    mixed += length
    while end - at >= WORD_BYTES:
        mixed = rotated(mixed ^ taken(np.uint64(0), number(data, at, WORD_BYTES)), 27) * PRIME_1 + PRIME_4
        at += WORD_BYTES
    if end - at >= HALF:
        mixed = rotated(mixed ^ number(data, at, HALF) * PRIME_1, 23) * PRIME_2 + PRIME_3
        at += HALF
    while at < end:
        mixed = rotated(mixed ^ number(data, at, 1) * PRIME_5, 11) * PRIME_1
        at += 1
    mixed = (mixed ^ mixed >> np.uint64(33)) * PRIME_2
    mixed = (mixed ^ mixed >> np.uint64(29)) * PRIME_3
    return mixed ^ mixed >> np.uint64(32)


@compiled(types.void, BYTES, INTS, NEW_WORDS)
def hash_each(data: Data, edges: Edges, found: BodyHashes) -> None:
    for row in range(len(found)):
        found[row] = hash_text(data, edges[row], edges[row + 1])
