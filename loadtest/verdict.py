"""Whether usage is the truth: by customer, hour and every group, and once more by customer and hour alone."""

from __future__ import annotations

import msgspec
from loadtest.api import Api
from loadtest.subject import Subject, usage_by_group, usage_by_hour
from loadtest.truth import Amount, Place, Truth, by_customer_and_hour

PROBLEMS_SHOWN = 5
# An event counted in an hour next to the right ones is found as well.
HOURS_AROUND = 1
NOTHING = Amount(0, 0)


class Verdict(msgspec.Struct, frozen=True):
    """`problems` is empty exactly where the run adds up; `compared` counts the figures held against the truth."""

    adds_up: bool
    compared: int
    problems: tuple[str, ...]


def verify(api: Api, subject: Subject, truth: Truth) -> Verdict:
    """Ask for usage and compare. Call once everything acknowledged is visible."""
    expected = truth.usage()
    if not expected:
        return Verdict(False, 0, ("not one batch was acknowledged",))
    first, end = truth.hours()
    hours = (first - HOURS_AROUND, end + HOURS_AROUND)
    problems = [
        *differences("/v1/usage/groups", expected, usage_by_group(api, subject, hours)),
        *differences("/v1/usage", by_customer_and_hour(expected), usage_by_hour(api, subject, hours)),
    ]
    compared = 2 * (len(expected) + len(by_customer_and_hour(expected)))
    return Verdict(not problems, compared, _shown(problems))


def differences(source: str, expected: dict[Place, Amount], found: dict[Place, Amount]) -> list[str]:
    """One line for each place where `found` is not `expected`."""
    lines = []
    for place in sorted(expected.keys() | found.keys()):
        right, wrong = expected.get(place, NOTHING), found.get(place, NOTHING)
        if right != wrong:
            where = " ".join((place.customer, f"hour {place.hour}", *place.groups))
            lines.append(
                f"{source} {where}: {wrong.events} events and {wrong.tokens} tokens, "
                f"sent {right.events} and {right.tokens}"
            )
    return lines


def _shown(problems: list[str]) -> tuple[str, ...]:
    if len(problems) <= PROBLEMS_SHOWN:
        return tuple(problems)
    return (*problems[:PROBLEMS_SHOWN], f"and {len(problems) - PROBLEMS_SHOWN} more figures")
