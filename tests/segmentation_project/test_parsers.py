"""Strict JSON: what is malformed, too long, encoded otherwise or names a key twice is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType

from segmentation_project.parsers import (
    BodyTooLarge,
    DuplicateKey,
    LengthRequired,
    check_encoding,
    check_length,
    decode,
    has_duplicate_key,
)

SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_sound_json_decodes_as_the_standard_library_does(value: Any) -> None:
    assert decode(json.dumps(value).encode()) == value


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text(max_size=4), SCALARS, min_size=1, max_size=6),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_a_key_named_twice_is_found_in_any_record(records: list[Any], data: Any) -> None:
    twice = data.draw(st.sampled_from(range(len(records))))
    key = json.dumps(next(iter(records[twice])))
    texts = [json.dumps(record) for record in records]
    texts[twice] = f"{texts[twice][:-1]}, {key}: 1}}"

    with pytest.raises(DuplicateKey):
        decode(f"[{','.join(texts)}]".encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 1}',
        b'[{"a:b": ":", "a:b": 2}]',
        rb'[{"a": 1, "\u0061": 2}]',
        b'[{"deep": {"a": 1, "a": 2}}]',
        b'[[{"a": 1, "a": 2}]]',
        rb'[{"quote \" :": 1, "b": ":", "b": 1}]',
        b'[{"":1,"":2}]',
        # As many colons in text as keys that are lost: the counts agree only outside strings.
        b'[{"a": 1, "a": 2}, {"b": "::"}]',
    ],
)
def test_a_key_named_twice_is_refused(body: bytes) -> None:
    with pytest.raises(DuplicateKey):
        decode(body)


def test_colons_in_texts_are_no_keys() -> None:
    assert decode(rb'[{"a": "x:y", "b": "\":\""}]') == [{"a": "x:y", "b": '":"'}]
    assert not has_duplicate_key(b'[{"a": {"a": 1}}, {"a": 2}]')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[1,]",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"{'a': 1}",
        b"[01]",
        b"// comment\n[]",
        b"\xef\xbb\xbf[]",
        "[]".encode("utf-16"),
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        b"[] []",
        b'["a\x00b"]',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(ParseError) as refusal:
        decode(body)

    assert refusal.value.detail.code == "malformed-json"


@pytest.mark.parametrize("depth", [*range(2, 1_200, 61), *range(900, 1_001, 7)])
@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"a":', "}")])
def test_no_depth_of_nesting_breaks_the_decoder(depth: int, before: str, after: str) -> None:
    body = (before * depth + "1" + after * depth).encode()

    try:
        decode(body)
    except ParseError as refusal:
        assert refusal.detail.code == "malformed-json"


def test_where_the_json_breaks_is_said_without_quoting_it() -> None:
    with pytest.raises(ParseError) as refusal:
        decode(b'[{"income": very-secret}]')

    assert "byte" in str(refusal.value.detail)
    assert "secret" not in str(refusal.value.detail)


@pytest.mark.parametrize(
    ("meta", "refusal"),
    [
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, LengthRequired),
        ({"HTTP_TRANSFER_ENCODING": "identity", "CONTENT_LENGTH": "2"}, LengthRequired),
        ({"CONTENT_LENGTH": "20000001"}, BodyTooLarge),
        ({"CONTENT_LENGTH": "9" * 5_000}, BodyTooLarge),
        ({"CONTENT_LENGTH": "-1"}, BodyTooLarge),
        ({"CONTENT_LENGTH": "²"}, BodyTooLarge),
    ],
)
def test_a_body_without_a_usable_length_is_refused(
    meta: dict[str, str], refusal: type[APIException]
) -> None:
    with pytest.raises(refusal):
        check_length(meta)


@pytest.mark.parametrize("length", ["", "0", "2", "20000000"])
def test_a_length_within_the_limit_passes(length: str) -> None:
    check_length({"CONTENT_LENGTH": length})


@pytest.mark.parametrize(
    "meta",
    [
        {"HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_CONTENT_ENCODING": "br, identity"},
        {"CONTENT_TYPE": "application/json; charset=latin-1"},
        {"CONTENT_TYPE": 'application/json; charset="utf-7"'},
        {"CONTENT_TYPE": "application/json; charset=bz2"},
        {"CONTENT_TYPE": "application/json;CHARSET = unicode_escape"},
    ],
)
def test_any_encoding_but_plain_utf_8_is_refused(meta: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_encoding(meta)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=UTF-8", ""]
)
def test_utf_8_passes(content_type: str) -> None:
    check_encoding({"CONTENT_TYPE": content_type, "HTTP_CONTENT_ENCODING": "identity"})


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'[{"name": "abc\xff"}]', "byte 14 is not UTF-8"),
        (b'{"a": "\xc3\xa9", "b": "\xed\xa0\x80"}', "byte 18 is not UTF-8"),
        (rb'["\ud800"]', "it, or an escape in it, ends too early"),
        (b'["abc', "it, or an escape in it, ends too early"),
    ],
)
def test_what_is_said_of_a_broken_text_is_true(body: bytes, detail: str) -> None:
    with pytest.raises(ParseError) as refused:
        decode(body)

    assert str(refused.value) == f"The body is not valid JSON: {detail}"
