"""How a loop over bytes becomes machine code: by Numba, when its module is imported, outside the interpreter's lock.

Columns are worked on by numpy and Arrow. What neither has, a loop for each byte, is plain Python over arrays here, and
tests hold it to the reader in `decode.py` and to hashlib. A function is compiled anew when its own file has changed,
so what it calls stands in the same file. (docs/adr/0021)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit, types

Loop = TypeVar("Loop", bound=Callable[..., Any])

INT = types.int64
BYTES = types.Array(types.uint8, 1, "C", readonly=True)
NEW_BYTES = types.Array(types.uint8, 1, "C")
INTS = types.Array(types.int32, 1, "C", readonly=True)
NEW_INTS = types.Array(types.int32, 1, "C")
TABLE = types.Array(types.int32, 2, "C", readonly=True)
NEW_TABLE = types.Array(types.int32, 2, "C")
WORD = types.uint64
FOUR_WORDS = types.Tuple((WORD, WORD, WORD, WORD))  # type: ignore[no-untyped-call]  # Numba ships no types
WORDS = types.Array(types.uint64, 1, "C", readonly=True)
NEW_WORDS = types.Array(types.uint64, 1, "C")
NEW_IDENTITIES = types.Array(types.uint64, 2, "C")


def compiled(result: Any, *arguments: Any) -> Callable[[Loop], Loop]:
    """Compile for exactly these types; the machine code is kept beside the module, or in the user's cache."""
    decorate: Callable[[Loop], Loop] = njit(result(*arguments), nogil=True, cache=True)
    return decorate
