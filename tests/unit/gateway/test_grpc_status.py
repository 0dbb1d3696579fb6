"""Every problem has a gRPC status of its own, and says with it how long to wait."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from penstock.gateway.grpc_status import CODES, detail_of, status_of, trailers_of
from penstock.kernel import problems
from penstock.kernel.problems import BadRequest, Conflict, OutOfRange, Problem, TooLarge, TooMany


def every_problem() -> Iterator[type[Problem]]:
    """The whole tree, as the kernel defines it."""
    for kind in vars(problems).values():
        if isinstance(kind, type) and issubclass(kind, Problem) and kind is not Problem:
            yield kind


@pytest.mark.parametrize("kind", list(every_problem()))
def test_every_kind_of_problem_has_a_status_that_is_not_internal(kind: type[Problem]) -> None:
    assert status_of(kind("why")) is not grpc.StatusCode.INTERNAL


def test_no_entry_of_the_table_is_of_a_problem_that_is_gone() -> None:
    assert set(CODES) <= {Problem, *every_problem()}


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (BadRequest("why"), grpc.StatusCode.INVALID_ARGUMENT),
        (OutOfRange("why"), grpc.StatusCode.INVALID_ARGUMENT),
        (problems.Unauthorized("why"), grpc.StatusCode.UNAUTHENTICATED),
        (problems.Forbidden("why"), grpc.StatusCode.PERMISSION_DENIED),
        (TooLarge("why"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (TooMany("why"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (problems.LogFull("why"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (problems.LogUnavailable("why"), grpc.StatusCode.UNAVAILABLE),
        (Problem("why"), grpc.StatusCode.INTERNAL),
    ],
)
def test_a_problem_becomes_the_status_that_clients_know_it_by(problem: Problem, code: grpc.StatusCode) -> None:
    assert status_of(problem) is code


def test_a_problem_that_another_module_adds_takes_the_status_of_its_parent() -> None:
    class Stale(Conflict):
        pass

    assert status_of(Stale("why")) is grpc.StatusCode.ALREADY_EXISTS


def test_only_what_may_be_tried_again_says_when() -> None:
    assert trailers_of(TooMany("slowly", retry_after_s=7)) == (("penstock-problem", "too-many"), ("retry-after", "7"))
    assert trailers_of(TooLarge("big")) == (("penstock-problem", "too-large"),)


def test_a_long_detail_is_cut_so_that_the_status_arrives() -> None:
    assert detail_of(BadRequest("x" * 100_000)) == "x" * 1_000
