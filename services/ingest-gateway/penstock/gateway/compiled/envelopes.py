"""Plain JSON bodies, byte by byte: where each field of each event stands in an array of events. No object is made.

Plain means: an array of objects that have each of the four texts and `properties` once and nothing else, the texts
in ASCII without an escape, `properties` a value of RFC 8259's grammar. It is what programs send. NOT_PLAIN is no
verdict: whoever gets it asks the reader that knows everything, in `decode.py`.
"""

from __future__ import annotations

import numpy as np
from numba import types

from penstock.gateway.compiled.compiler import BYTES, INT, INTS, NEW_TABLE, compiled
from penstock.gateway.loops import Data, Edges, Spans

FIELDS = (b"transaction_id", b"customer_id", b"event_type", b"timestamp", b"properties")
PROPERTIES = FIELDS.index(b"properties")
ALL_FIELDS = (1 << len(FIELDS)) - 1
# The shortest event there is has so many bytes.
EVENT_BYTES_MIN = sum(map(len, FIELDS)) + len('{"":"","":"","":"","":"","":{}}')

NAMES = np.frombuffer(b"".join(FIELDS), np.uint8)
NAME_STARTS = np.cumsum([0, *map(len, FIELDS)])


NOT_PLAIN = -1
# As many bits as the kinds of the enclosing brackets take.
DEPTH_MAX = 62

QUOTE, BACKSLASH, COMMA, COLON, MINUS, PLUS, POINT = (ord(c) for c in '"\\,:-+.')
ARRAY_START, ARRAY_END, OBJECT_START, OBJECT_END = (ord(c) for c in "[]{}")
SPACE, TAB, LINE_FEED, RETURN = (ord(c) for c in " \t\n\r")
ZERO, NINE, SMALL_E, LARGE_E = (ord(c) for c in "09eE")
SMALL_T, SMALL_F, SMALL_N = (ord(c) for c in "tfn")
TRUE, FALSE, NULL = (np.frombuffer(word, np.uint8) for word in (b"true", b"false", b"null"))
IS_ESCAPE = np.zeros(256, np.bool_)
IS_ESCAPE[[ord(c) for c in '"\\/bfnrt']] = True
SMALL_U = ord("u")
IS_HEX = np.zeros(256, np.bool_)
IS_HEX[[ord(c) for c in "0123456789abcdefABCDEF"]] = True
IS_D = np.zeros(256, np.bool_)  # the first digit of a surrogate
IS_D[[ord(c) for c in "dD"]] = True
CONTROL_END, ASCII_END = 0x20, 0x80
# What may come next inside a value.
VALUE, AFTER_VALUE, KEY, KEY_OR_END, VALUE_OR_END = range(5)


def envelopes(body: bytes, events_max: int) -> Spans | None:
    """By event and field, where its text starts and ends in `body`, without quotes.

    None where the body is not plain, or has more than `events_max` events.
    """
    spans = np.empty((min(events_max, len(body) // EVENT_BYTES_MIN) + 1, 2 * len(FIELDS)), np.int32)
    events = find_envelopes(np.frombuffer(body, np.uint8), spans)
    return None if events == NOT_PLAIN else spans[:events]


def values(edges: Edges, data: Data) -> bool:
    """Whether each text that `edges` cut out of `data` is a JSON value and nothing beside it. False is no verdict."""
    return bool(are_values(data, edges))


@compiled(INT, BYTES, INT)
def byte(text: Data, at: int) -> int:
    """The byte at `at`, 0 behind the end: no JSON goes on with it. Unsigned, since a sign would be looked at."""
    return int(text[np.uint64(at)]) if at < len(text) else 0


@compiled(INT, BYTES, INT)
def skip_space(text: Data, at: int) -> int:
    while True:
        char = byte(text, at)
        if char > SPACE or char not in (SPACE, LINE_FEED, RETURN, TAB):
            return at
        at += 1


@compiled(INT, BYTES, INT)
def escape_end(text: Data, at: int) -> int:
    """The last byte of the escape whose backslash is before `at`."""
    if IS_ESCAPE[np.uint64(byte(text, at))]:
        return at
    if byte(text, at) != SMALL_U or IS_D[np.uint64(byte(text, at + 1))]:
        return NOT_PLAIN
    for place in range(at + 1, at + 5):
        if not IS_HEX[np.uint64(byte(text, place))]:
            return NOT_PLAIN
    return at + 4


@compiled(INT, BYTES, INT)
def string_end(text: Data, at: int) -> int:
    """Behind the closing quote of the string whose opening quote is at `at`."""
    while True:
        at += 1
        char = byte(text, at)
        if char == QUOTE:
            return at + 1
        if char < CONTROL_END:
            return NOT_PLAIN
        if char == BACKSLASH:
            at = escape_end(text, at + 1)
            if at < 0:
                return NOT_PLAIN


@compiled(INT, BYTES, INT)
def digits_end(text: Data, at: int) -> int:
    while ZERO <= byte(text, at) <= NINE:
        at += 1
    return at


@compiled(INT, BYTES, INT)
def number_end(text: Data, at: int) -> int:
    if byte(text, at) == MINUS:
        at += 1
    start = at
    at = at + 1 if byte(text, at) == ZERO else digits_end(text, at)
    if at == start:
        return NOT_PLAIN
    if byte(text, at) == POINT:
        start = at + 1
        at = digits_end(text, start)
        if at == start:
            return NOT_PLAIN
    if byte(text, at) in (SMALL_E, LARGE_E):
        at += 1
        start = at + 1 if byte(text, at) in (PLUS, MINUS) else at
        at = digits_end(text, start)
        if at == start:
            return NOT_PLAIN
    return at


@compiled(INT, BYTES, INT, BYTES)
def word_end(text: Data, at: int, word: Data) -> int:
    for place in range(len(word)):
        if byte(text, at + place) != word[place]:
            return NOT_PLAIN
    return at + len(word)


@compiled(INT, BYTES, INT)
def scalar_end(text: Data, at: int) -> int:
    char = byte(text, at)
    if char == QUOTE:
        return string_end(text, at)
    if char == SMALL_T:
        return word_end(text, at, TRUE)
    if char == SMALL_F:
        return word_end(text, at, FALSE)
    if char == SMALL_N:
        return word_end(text, at, NULL)
    return number_end(text, at)


@compiled(INT, BYTES, INT)
def value_end(text: Data, at: int) -> int:
    """Behind the value that starts at `at`, without spaces before it."""
    depth, objects = 0, np.uint64(0)  # a bit for each enclosing bracket, the innermost the lowest: 1 for an object
    expected = VALUE
    while True:
        char = byte(text, at)
        if expected == AFTER_VALUE and char == COMMA:
            expected = KEY if objects & np.uint64(1) else VALUE
            at += 1
        elif (expected in (AFTER_VALUE, KEY_OR_END) and char == OBJECT_END and objects & np.uint64(1)) or (
            expected in (AFTER_VALUE, VALUE_OR_END) and char == ARRAY_END and not objects & np.uint64(1)
        ):
            depth, objects, expected = depth - 1, objects >> np.uint64(1), AFTER_VALUE
            at += 1
        elif expected in (KEY, KEY_OR_END) and char == QUOTE:
            at = string_end(text, at)
            if at < 0:
                return NOT_PLAIN
            at = skip_space(text, at)
            if byte(text, at) != COLON:
                return NOT_PLAIN
            at += 1
            expected = VALUE
        elif expected not in (VALUE, VALUE_OR_END):
            return NOT_PLAIN
        elif char in (OBJECT_START, ARRAY_START):
            if depth == DEPTH_MAX:
                return NOT_PLAIN
            is_object = char == OBJECT_START
            depth, objects = depth + 1, objects << np.uint64(1) | np.uint64(is_object)
            expected = KEY_OR_END if is_object else VALUE_OR_END
            at += 1
        else:
            at = scalar_end(text, at)
            if at < 0:
                return NOT_PLAIN
            expected = AFTER_VALUE
        if expected == AFTER_VALUE and not depth:
            return at
        at = skip_space(text, at)


@compiled(INT, BYTES, INT)
def text_end(text: Data, at: int) -> int:
    """The closing quote of a text of the envelope whose opening quote is at `at`."""
    while True:
        at += 1
        char = byte(text, at)
        if char == QUOTE:
            return at
        if char < CONTROL_END or char == BACKSLASH or char >= ASCII_END:
            return NOT_PLAIN


@compiled(INT, BYTES, INT, INT)
def field_at(text: Data, start: int, end: int) -> int:
    """Which field has the name between `start` and `end`."""
    for field in range(len(FIELDS)):
        name = NAMES[NAME_STARTS[field] : NAME_STARTS[field + 1]]
        if len(name) == end - start and byte(text, start) == name[0]:
            for place in range(len(name)):
                if byte(text, start + place) != name[place]:
                    return NOT_PLAIN
            return field
    return NOT_PLAIN


@compiled(INT, BYTES, INT, NEW_TABLE, INT)
def find_fields(text: Data, at: int, spans: Spans, row: int) -> int:
    """Note the fields of the object that starts at `at`; return where it ends."""
    seen = 0
    while True:
        at = skip_space(text, at + 1)  # behind the bracket, or a comma
        if byte(text, at) != QUOTE:
            return NOT_PLAIN
        end = text_end(text, at)
        field = field_at(text, at + 1, end)
        if end < 0 or field < 0 or seen >> field & 1:
            return NOT_PLAIN
        seen |= 1 << field
        at = skip_space(text, end + 1)
        if byte(text, at) != COLON:
            return NOT_PLAIN
        start = skip_space(text, at + 1)
        if field == PROPERTIES:
            at = end = value_end(text, start)
        elif byte(text, start) == QUOTE:
            end = text_end(text, start)
            start += 1
            at = end + 1
        else:
            return NOT_PLAIN
        if end < 0:
            return NOT_PLAIN
        spans[row, 2 * field], spans[row, 2 * field + 1] = start, end
        at = skip_space(text, at)
        if byte(text, at) == OBJECT_END:
            return at + 1 if seen == ALL_FIELDS else NOT_PLAIN
        if byte(text, at) != COMMA:
            return NOT_PLAIN


@compiled(types.boolean, BYTES, INTS)
def are_values(text: Data, edges: Edges) -> bool:
    # A value that ran over its own end would end behind it.
    for row in range(len(edges) - 1):  # noqa: SIM110  # Numba compiles no generators
        if value_end(text, edges[row]) != edges[row + 1]:
            return False
    return True


@compiled(INT, BYTES, NEW_TABLE)
def find_envelopes(text: Data, spans: Spans) -> int:
    """Fill `spans`; return of how many events, NOT_PLAIN where that is not for this reader to say."""
    at = skip_space(text, 0)
    if byte(text, at) != ARRAY_START:
        return NOT_PLAIN
    row = 0
    while True:
        at = skip_space(text, at + 1)  # behind the bracket, or a comma
        if byte(text, at) != OBJECT_START or row + 1 == len(spans):
            return NOT_PLAIN
        at = find_fields(text, at, spans, row)
        if at < 0:
            return NOT_PLAIN
        row += 1
        at = skip_space(text, at)
        if byte(text, at) == ARRAY_END:
            return row if skip_space(text, at + 1) == len(text) else NOT_PLAIN
        if byte(text, at) != COMMA:
            return NOT_PLAIN
