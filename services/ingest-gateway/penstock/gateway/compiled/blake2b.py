"""Keyed BLAKE2b of 16 bytes for a whole column of texts, as RFC 7693 has it. hashlib's, many at a time.

The key is a block of its own that all digests share, so a text of up to 128 bytes costs one compression.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from penstock.gateway.compiled.compiler import (
    BYTES,
    FOUR_WORDS,
    INT,
    INTS,
    NEW_IDENTITIES,
    NEW_WORDS,
    WORD,
    WORDS,
    compiled,
)
from penstock.gateway.loops import Data, Edges
from penstock.kernel.identity import DIGEST_BYTES, Identities

BLOCK_BYTES = 128
ROUNDS = 12
PARAMETERS = 0x01010000 ^ DIGEST_BYTES  # one leaf, one level, a digest of so many bytes; the key's size is to come
IV = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    np.uint64,
)
SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    np.uint8,
)


Words = npt.NDArray[np.uint64]


def digests(key: bytes, prefix: bytes, edges: Edges, data: Data) -> Identities:
    """The digests of `prefix` + text for each text that `edges` cut out of `data`, as two little-endian words each."""
    found = np.empty((len(edges) - 1, 2), np.uint64)
    digest_each(np.frombuffer(key, np.uint8), np.frombuffer(prefix, np.uint8), data, edges, found)
    return found


@compiled(WORD, WORD, WORD)
def rotated(word: np.uint64, bits: np.uint64) -> np.uint64:
    return word >> bits | word << (np.uint64(64) - bits)


@compiled(FOUR_WORDS, WORD, WORD, WORD, WORD, WORD, WORD)
def mixed(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """The function G of the RFC."""
    a = a + b + x
    d = rotated(d ^ a, np.uint64(32))
    c = c + d
    b = rotated(b ^ c, np.uint64(24))
    a = a + b + y
    d = rotated(d ^ a, np.uint64(16))
    c = c + d
    b = rotated(b ^ c, np.uint64(63))
    return a, b, c, d


@compiled(types.void, NEW_WORDS, WORDS, INT, types.boolean)
def compress(state: Words, block: Words, hashed: int, is_last: bool) -> None:
    """The function F: take `block` into `state`; `hashed` bytes are taken then."""
    v0, v1, v2, v3, v4, v5, v6, v7 = state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7]
    v8, v9, v10, v11, v12, v13, v14, v15 = IV[0], IV[1], IV[2], IV[3], IV[4], IV[5], IV[6], IV[7]
    v12 ^= np.uint64(hashed)
    if is_last:
        v14 = ~v14
    for number in range(ROUNDS):
        s = SIGMA[number]
        v0, v4, v8, v12 = mixed(v0, v4, v8, v12, block[s[0]], block[s[1]])
        v1, v5, v9, v13 = mixed(v1, v5, v9, v13, block[s[2]], block[s[3]])
        v2, v6, v10, v14 = mixed(v2, v6, v10, v14, block[s[4]], block[s[5]])
        v3, v7, v11, v15 = mixed(v3, v7, v11, v15, block[s[6]], block[s[7]])
        v0, v5, v10, v15 = mixed(v0, v5, v10, v15, block[s[8]], block[s[9]])
        v1, v6, v11, v12 = mixed(v1, v6, v11, v12, block[s[10]], block[s[11]])
        v2, v7, v8, v13 = mixed(v2, v7, v8, v13, block[s[12]], block[s[13]])
        v3, v4, v9, v14 = mixed(v3, v4, v9, v14, block[s[14]], block[s[15]])
    state[0] ^= v0 ^ v8
    state[1] ^= v1 ^ v9
    state[2] ^= v2 ^ v10
    state[3] ^= v3 ^ v11
    state[4] ^= v4 ^ v12
    state[5] ^= v5 ^ v13
    state[6] ^= v6 ^ v14
    state[7] ^= v7 ^ v15


@compiled(types.void, BYTES, BYTES, BYTES, INTS, NEW_IDENTITIES)
def digest_each(key: Data, prefix: Data, data: Data, edges: Edges, digests: Identities) -> None:
    """Neither the key nor the prefix is empty: a text may be, and a last block of nothing would be another one."""
    block = np.zeros(BLOCK_BYTES, np.uint8)
    words = block.view(np.uint64)
    keyed, state = np.empty(len(IV), np.uint64), np.empty(len(IV), np.uint64)
    for place in range(len(IV)):
        keyed[place] = IV[place]
    keyed[0] ^= np.uint64(PARAMETERS ^ len(key) << 8)
    for place in range(len(key)):
        block[place] = key[place]
    compress(keyed, words, BLOCK_BYTES, False)
    for row in range(len(digests)):
        for place in range(len(IV)):
            state[place] = keyed[place]
        start = edges[row] - len(prefix)
        held, hashed = 0, BLOCK_BYTES
        for place in range(edges[row + 1] - start):
            if held == BLOCK_BYTES:
                hashed += BLOCK_BYTES
                compress(state, words, hashed, False)
                held = 0
            is_text = place >= len(prefix)
            block[np.uint64(held)] = data[np.uint64(start + place)] if is_text else prefix[place]
            held += 1
        for place in range(held, BLOCK_BYTES):
            block[np.uint64(place)] = 0
        compress(state, words, hashed + held, True)
        digests[row, 0], digests[row, 1] = state[0], state[1]
