"""Cursor paging in Metronome's shape: `{"data": [...], "next_page": cursor or null}`.

A cursor is a place in the catalog's sequence, never a time: pages stay stable while others write.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from penstock.kernel.problems import BadRequest

CURSOR_CHARS_MAX = 40


def encode_cursor(sequence: int) -> str:
    return base64.urlsafe_b64encode(str(sequence).encode()).decode().rstrip("=")


def decode_cursor(text: str | None) -> int:
    """The sequence after which the page starts; 0 for the first page. Raise `BadRequest` for a made-up cursor."""
    if text is None or not text:
        return 0
    try:
        sequence = int(base64.urlsafe_b64decode(text[:CURSOR_CHARS_MAX] + "=" * (-len(text[:CURSOR_CHARS_MAX]) % 4)))
    except (ValueError, binascii.Error) as exc:
        raise BadRequest("next_page is not a cursor of this API", field="next_page") from exc
    if not 0 <= sequence < 2**63:
        raise BadRequest("next_page is not a cursor of this API", field="next_page")
    return sequence


def page(rows: Sequence[Any], limit: int, last_sequence: int | None) -> dict[str, Any]:
    """A page of at most `limit` rows; asked for `limit + 1`, a caller knows whether there is another."""
    more = len(rows) > limit
    return {"data": list(rows[:limit]), "next_page": encode_cursor(last_sequence) if more and last_sequence else None}
