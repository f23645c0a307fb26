"""Duplicate keys are found by counting colons: the count agrees with a full look, always."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segmentation_project.parsers import DuplicateKey, count_keys, decode, has_as_many_keys

TEXTS = st.sampled_from(["a", "b", ":", '":', '\\":', " :", '\\"', "10:30:00", 'x\\\\":'])
KEYS = TEXTS.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
SPACES = st.sampled_from(["", "", " ", "\t", "\n", "\r"])
PAIRS = st.tuples(KEYS, SPACES, SPACES, KEYS | st.sampled_from(["1", "null", '{"a":1}'])).map(
    lambda parts: f"{parts[0]}{parts[1]}:{parts[2]}{parts[3]}"
)
OBJECTS = st.lists(PAIRS, max_size=4).map(lambda pairs: "{" + ",".join(pairs) + "}")
BODIES = st.lists(OBJECTS, max_size=3).map(lambda objects: "[" + ",".join(objects) + "]")


def names_a_key_twice(body: str) -> bool:
    found = []

    def look(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        found.append(len(set(names)) < len(names))

    json.loads(body, object_pairs_hook=look)
    return any(found)


@given(BODIES)
@example('[{"a" :1,"a":2}]')
@example('[{"a" :1,"a":"\\":"}]')
@example('[{"a":"t:1","a":2}]')
@settings(max_examples=400, deadline=None)
def test_decode_refuses_a_body_exactly_when_it_names_a_key_twice(body: str) -> None:
    if names_a_key_twice(body):
        with pytest.raises(DuplicateKey):
            decode(body.encode())
    else:
        assert decode(body.encode()) == json.loads(body)


def test_times_of_day_do_not_call_for_a_look_at_every_string(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = [{"seen_at": "2025-01-01T10:00:00"}] * 3
    monkeypatch.delattr("segmentation_project.parsers.STRING")

    assert has_as_many_keys(json.dumps(records).encode(), count_keys(records))
