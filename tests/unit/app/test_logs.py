"""Log lines: an error by its type and place and never in its words, unless they are our own."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec
import pytest

from penstock.app.call import Call
from penstock.app.logs import REQUEST_ID, JsonFormatter, TextFormatter, request_id_of, tell_loop_error
from penstock.kernel.problems import BadRequest, Problem, StoreUnavailable

SECRET = "what the caller sent"


def a_record(error: BaseException | None = None, **fields: Any) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("penstock.test", logging.WARNING, __file__, 1, "it %s", ("failed",), info)
    record.fields = fields
    return record


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException:
        caught = sys.exc_info()[1]
        assert caught is not None
        return caught


def test_an_errors_words_are_left_out_and_its_place_is_told() -> None:
    error = raised(StoreUnavailable("the store is away"), raised(ValueError(SECRET), KeyError(SECRET)))

    for line in (JsonFormatter().format(a_record(error)), TextFormatter().format(a_record(error))):
        assert SECRET not in line
        assert "StoreUnavailable (the store is away) at " in line
        assert "builtins.ValueError at " in line
        assert "builtins.KeyError at " in line
        assert "test_logs.py:" in line


def test_a_line_carries_its_fields_and_the_id_of_the_request() -> None:
    token = REQUEST_ID.set("request-1")
    try:
        line = msgspec.json.decode(JsonFormatter().format(a_record(partition=3)))
    finally:
        REQUEST_ID.reset(token)

    time = line.pop("time")
    assert time.endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "penstock.test",
        "message": "it failed",
        "request_id": "request-1",
        "partition": 3,
    }
    assert TextFormatter().format(a_record(partition=3)).endswith("WARNING penstock.test it failed partition=3")


@pytest.mark.parametrize("given", [None, "", "short", "a" * 65, "with space in it", "line\nbreak", "pk_ü_aaaaaaaa"])
def test_a_request_id_that_is_no_plain_word_is_replaced(given: str | None) -> None:
    made = request_id_of(given)

    assert made != given
    assert len(made) == 16
    assert request_id_of(made) == made


def test_a_bug_is_logged_with_its_place_and_the_caller_learns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    call = Call("GET", "request-1", 0, path="/v1/usage", tenant="acme")

    problem = call.problem_of(Exception(SECRET))

    assert isinstance(problem, Problem)
    assert SECRET not in problem.detail
    [record] = caplog.records
    line = msgspec.json.decode(JsonFormatter().format(record))
    assert (line["path"], line["tenant"], line["error"]) == ("/v1/usage", "acme", "builtins.Exception at ")
    refused = BadRequest("wrong")
    assert call.problem_of(refused) is refused
    assert len(caplog.records) == 1


def test_what_nobody_waited_for_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    tell_loop_error(None, {"message": "Task exception was never retrieved", "exception": raised(ValueError(SECRET))})

    line = JsonFormatter().format(caplog.records[0])
    assert SECRET not in line
    assert "never retrieved" in line
