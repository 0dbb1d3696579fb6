"""Cursor paging in Metronome's shape: `{"data": [...], "next_page": cursor or null}`.

A cursor is a place in the catalog's sequence, or in the order of computed rows: never a time and never a row number, so
pages stay stable while others write.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from penstock.kernel.problems import BadRequest

CURSOR_CHARS_MAX = 40

T = TypeVar("T")


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


def encode_place(place: tuple[object, ...]) -> str:
    """A cursor that is the last row's key, as `decode_place` reads it."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def decode_place(text: str | None, shape: type[T]) -> T | None:
    """The key after which the page starts; None for the first page. Raise `BadRequest` for a made-up cursor."""
    if text is None or not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=shape)
    except (ValueError, msgspec.DecodeError) as exc:
        raise BadRequest("next_page is not a cursor of this API", field="next_page") from exc


def page(rows: Sequence[Any], limit: int, last_sequence: int | None) -> dict[str, Any]:
    """A page of at most `limit` rows; asked for `limit + 1`, a caller knows whether there is another."""
    more = len(rows) > limit
    return {"data": list(rows[:limit]), "next_page": encode_cursor(last_sequence) if more and last_sequence else None}
