"""Bodies that the API must refuse, with the problem each must be answered with.

A case turns a good record into a body; `errors` are the pointer and code of each error, and no
answer may contain `value`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class BadBody:
    name: str
    body: Callable[[Record], bytes]
    code: str = "invalid-records"
    errors: Sequence[tuple[str, str]] = ()
    value: str = "very-secret"


def raw(text: str | bytes) -> Callable[[Record], bytes]:
    return lambda record: text.encode() if isinstance(text, str) else text


def changed(**attributes: Any) -> Callable[[Record], bytes]:
    return lambda record: json.dumps([record | attributes]).encode()


def literal(field: str, text: str) -> Callable[[Record], bytes]:
    """The record with `text` itself, which json.dumps would not write, as the field's value."""

    def body(record: Record) -> bytes:
        return json.dumps([record | {field: "@"}]).replace('"@"', text).encode()

    return body


def twice(record: Record) -> bytes:
    other = record | {"customer_id": "another-very-secret"}
    same = record | {"customer_id": "very-secret"}
    return json.dumps([same, other, same]).encode()


def named_twice(record: Record) -> bytes:
    return json.dumps([record])[:-2].encode() + b', "orders": 7}]'


ID = "#/0/customer_id"
MALFORMED = [
    ("nothing but an opening", raw("[")),
    ("a trailing comma", raw("[{},]")),
    ("single quotes", raw("[{'orders': 1}]")),
    ("NaN", literal("orders", "NaN")),
    ("Infinity", literal("orders", "Infinity")),
    ("minus Infinity", literal("orders", "-Infinity")),
    ("1e999", literal("orders", "1e999")),
    ("nothing but white space", raw(" \n ")),
    ("something after the end", raw("[{}] very-secret")),
    ("two documents", raw("[{}]\n[{}]")),
    ("a comment", raw("[{}] // very-secret")),
    ("a word", raw("very-secret")),
    ("a number with a leading zero", literal("orders", "012")),
    ("a hexadecimal number", literal("orders", "0x1F")),
    ("a key that is no text", raw("[{1: 2}]")),
    ("a raw line break in a text", raw(b'[{"customer_id": "very-\nsecret"}]')),
    ("a byte order mark", raw(b"\xef\xbb\xbf[{}]")),
    ("UTF-16", raw("[{}]".encode("utf-16"))),
    ("invalid UTF-8", raw(b'[{"customer_id": "very-secret\xff"}]')),
    ("a lone surrogate in UTF-8", raw(b'[{"customer_id": "very-secret\xed\xa0\x80"}]')),
    ("a raw NUL", raw(b'[{"customer_id": "very-secret\x00"}]')),
    ("a lone surrogate", literal("customer_id", r'"very-secret\ud800"')),
    ("a hundred thousand lists", raw("[" * 100_000)),
    ("a hundred thousand objects", raw('{"a":' * 100_000)),
]
BAD_BODIES = [
    *(BadBody(name, body, code="malformed-json") for name, body in MALFORMED),
    BadBody("a key twice", named_twice, code="duplicate-key"),
    BadBody("a key twice, escaped", raw(r'[{"a": 1, "\u0061": 2}]'), code="duplicate-key"),
    BadBody("an object", raw('{"customer_id": "very-secret"}'), errors=[("#", "not-a-list")]),
    BadBody("a number", raw("1"), errors=[("#", "not-a-list")]),
    BadBody("null", raw("null"), errors=[("#", "not-a-list")]),
    BadBody("a text", raw('"very-secret"'), errors=[("#", "not-a-list")]),
    BadBody("true", raw("true"), errors=[("#", "not-a-list")]),
    BadBody("no customers, but many", raw("[" + "{}," * 300_000 + "{}]"),
            errors=[("#", "too-many")]),
    BadBody("an empty list", raw("[]"), errors=[("#", "too-few")]),
    BadBody("too many", raw(json.dumps([{}] * 10_001)), errors=[("#", "too-many")]),
    BadBody("a list of numbers", raw("[1]"), errors=[("#/0", "wrong-type")]),
    BadBody("a list of lists", raw("[[]]"), errors=[("#/0", "wrong-type")]),
    BadBody("a list of nulls", raw("[null]"), errors=[("#/0", "wrong-type")]),
    BadBody(
        "an id twice", twice,
        errors=[(ID, "duplicate-id"), ("#/2/customer_id", "duplicate-id")],
    ),
    BadBody("a number as id", changed(customer_id=987654321), errors=[(ID, "wrong-type")],
            value="987654321"),
    BadBody("null as id", changed(customer_id=None), errors=[(ID, "wrong-type")]),
    BadBody("an empty id", changed(customer_id=""), errors=[(ID, "empty")]),
    BadBody("a blank id", changed(customer_id=" "), errors=[(ID, "padded")]),
    BadBody("a padded id", changed(customer_id="very-secret\u00a0"), errors=[(ID, "padded")]),
    BadBody("a long id", changed(customer_id="very-secret" * 20), errors=[(ID, "too-long")]),
    BadBody("a NUL in an id", changed(customer_id="very-secret\0"), errors=[(ID, "bad-text")]),
    BadBody("a line break in an id", changed(customer_id="very-secret\nx"),
            errors=[(ID, "bad-text")]),
    BadBody("a bidi control in an id", changed(customer_id="very-secret\u202ex"),
            errors=[(ID, "bad-text")]),
    BadBody("a zero-width space in an id", changed(customer_id="very-secret\u200bx"),
            errors=[(ID, "bad-text")]),
    BadBody("a NUL in a text", changed(channel="very-secret\0"),
            errors=[("#/0/channel", "bad-text")]),
    BadBody("a bidi control in an unused text", changed(note="very-secret\u2066"),
            errors=[("#/0/note", "bad-text")]),
    BadBody("a long text", changed(channel="very-secret" * 100),
            errors=[("#/0/channel", "too-long")]),
    BadBody("a NUL in a name", changed(**{"very-secret\0": 1}), errors=[("#/0", "bad-text")]),
    BadBody("a long name", changed(**{"n" * 201: 1}), errors=[("#/0", "too-long")]),
    BadBody("a slash in a name", changed(**{"a/b~c": "\0"}), errors=[("#/0/a~1b~0c", "bad-text")]),
    BadBody("ten to the thirtieth", changed(orders=10**30), errors=[("#/0/orders", "out-of-range")],
            value="000000000000000000"),
    BadBody("two to the 63rd", changed(orders=2**63), errors=[("#/0/orders", "out-of-range")],
            value=str(2**63)),
    BadBody("a huge unused number", changed(unused=-1e300), errors=[("#/0/unused", "out-of-range")],
            value="1e300"),
    BadBody("four hundred digits", literal("orders", "9" * 400),
            errors=[("#/0/orders", "out-of-range")], value="999999"),
    BadBody("five thousand digits", literal("orders", "9" * 5_000),
            code="malformed-json", value="999999"),
    BadBody("a list as a value", changed(orders=["very-secret"]),
            errors=[("#/0/orders", "nested")]),
    BadBody("an object as a value", changed(orders={"very-secret": 1}),
            errors=[("#/0/orders", "nested")]),
    BadBody("an unused list", changed(unused=["very-secret"]), errors=[("#/0/unused", "nested")]),
    BadBody("too many attributes", changed(**{f"a{n}": 1 for n in range(1_001)}),
            errors=[("#/0", "too-many")]),
    BadBody(
        "several at once", changed(customer_id=1, orders=[], unused="\0"),
        errors=[(ID, "wrong-type"), ("#/0/orders", "nested"), ("#/0/unused", "bad-text")],
    ),
]  # fmt: skip
"""Refused whatever the model: by the form of the body alone."""


def typed(field: str, value: Any, code: str) -> BadBody:
    shown = value if isinstance(value, str) else "very-secret"
    return BadBody(
        f"{field} {value!r}",
        changed(**{field: value}),
        errors=[(f"#/0/{field}", code)],
        value=shown,
    )


def without(field: str) -> BadBody:
    def body(record: Record) -> bytes:
        return json.dumps([{key: value for key, value in record.items() if key != field}]).encode()

    return BadBody(f"no {field}", body, errors=[(f"#/0/{field}", "missing")])


def second_record_bad(record: Record) -> bytes:
    good, bad = record | {"customer_id": "new"}, record | {"customer_id": "bad", "orders": "x"}
    return json.dumps([good, bad, good | {"customer_id": "new-2"}]).encode()


BAD_FEATURES = [
    typed("orders", "12345678", "wrong-type"),
    typed("orders", "nan", "wrong-type"),
    typed("orders", "1e400", "wrong-type"),
    replace(typed("orders", "", "wrong-type"), value="very-secret"),
    typed("orders", True, "wrong-type"),
    typed("orders", None, "missing"),
    typed("newsletter", 1, "wrong-type"),
    typed("newsletter", "falsehood", "wrong-type"),
    typed("channel", 3, "wrong-type"),
    typed("channel", True, "wrong-type"),
    typed("channel", None, "missing"),
    typed("age", "forty-two", "wrong-type"),
    typed("signed_up_on", "2025-02-30", "not-a-date"),
    typed("signed_up_on", "yesterday", "not-a-date"),
    typed("signed_up_on", 20250101, "wrong-type"),
    typed("signed_up_on", None, "missing"),
    without("orders"),
    without("channel"),
    BadBody("one bad record of three", second_record_bad, errors=[("#/1/orders", "wrong-type")]),
]
"""Refused because the model's features say so; where drift is checked they count as missing."""

LEGAL = {
    "an unseen category": {"channel": "teleport"},
    "an unknown attribute": {"shoe_size": 43},
    "a gap that training knew": {"age": None},
    "two to the 31st": {"orders": 2**31},
    "a negative amount": {"total_spend": -5.0},
    "a whole number for a fraction": {"total_spend": 3},
    "a formula as id": {"customer_id": "=cmd|'/C calc'!A0"},
    "markup as id": {"customer_id": "<script>alert(1)</script>"},
    "SQL as id": {"customer_id": "' OR 1=1 --"},
    "an id of two hundred characters": {"customer_id": "\u00e9" * 200},
    "an id beyond the basic plane": {"customer_id": "\U0001f600"},
    "a date of another century": {"signed_up_on": "1999-12-31"},
}

NOT_OBJECTS = [b"[]", b"1", b"null", b'"very-secret"', b"true", b'[{"reason": "very-secret"}]']
BAD_FIELDS = [
    "null",
    "-1",
    "1.5",
    "1e300",
    "9" * 30,
    "[]",
    "{}",
    '["very-secret", 1]',
    '[["very-secret"]]',
    '{"very-secret": "x"}',
    '{"very-secret": null}',
    r'"very-secret\u0000"',
    r'"very-secret\u202e"',
    '"' + "very-secret" * 1_000 + '"',
]
"""JSON of values that no field of a body takes, whatever it is for."""
OTHER_TYPES = [
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "",
    "application/json; charset=latin-1",
    "application/json; charset=utf-7",
    "application/json; charset=utf-16",
    "application/json; charset=idna",
    "application/json; charset=bz2",
    "application/json; charset=zlib",
    "application/json; charset=unicode_escape",
]
BAD_PARAMETERS = [
    "",
    "%00",
    "very-secret%00",
    "%ff",
    "%ed%a0%80",
    "-1",
    "0",
    "1.0",
    "%2b5",
    "1e3",
    "1_000",
    "%201",
    "%d9%a3",
    "NaN",
    str(2**31),
    str(2**63),
    "9" * 30,
    "9" * 5_000,
    "very-secret'--",
    "%3Cscript%3Every-secret",
    "very-secret" * 400,
    "bm9uZQ%3D%3D",
    "cD0lMDA%3D",
    "cD0lZmY%3D",
    "cj0xJnA9MQ%3D%3D",
    "bz05OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTkmcD0x",
    "2025-02-30T00:00:00Z",
    "0001-01-01T00:00:00%2b23:59",
    "9999-12-31T23:59:59-23:59",
    "2025-01-01T00:00:00%2b99:99",
]
"""As they stand in an address; some are cursors: of no place, NUL, no UTF-8, backwards, far off."""
HUGE_NUMBERS = [str(2**31), str(2**63 - 1), str(2**63), "9" * 40, "0" * 400 + "7"]
