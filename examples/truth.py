"""Holding what Penstock answers against what is true: the first difference ends the demo."""

from __future__ import annotations

from collections.abc import Mapping

from examples.terminal import say


class DoesNotAddUp(Exception):
    """An answer that is not the truth, in words."""


def expect(what: str, answered: object, true: object) -> None:
    """Raise `DoesNotAddUp` that names the first difference."""
    if isinstance(answered, Mapping) and isinstance(true, Mapping):
        for key in [*true, *answered]:
            expect(f"{what}, {key}", answered.get(key, "nothing"), true.get(key, "nothing"))
    elif answered != true:
        raise DoesNotAddUp(f"{what}: Penstock answers {answered}, the truth is {true}")


def adds_up(how: str) -> None:
    say(f"  Adds up exactly: {how}.")
