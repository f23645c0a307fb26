"""A reading of the trail is recorded with its filters, cut to what an entry holds."""

from __future__ import annotations

import json

import pytest

from audit.reading import MAX_FILTERS, MAX_NAME, MAX_TEXT, record_reading
from audit.trail import MAX_DETAILS
from tests.expectations import one_entry
from tests.factories import BY

pytestmark = pytest.mark.django_db


def test_a_reading_leaves_who_what_and_how_many() -> None:
    with one_entry(action="audit.read", actor_id="tests", n_items=50) as entries:
        record_reading(by=BY, n_items=50, filters={"action": "segment.renamed", "q": "crm"})

    assert json.loads(entries[0].details) == {"filters": {"action": "segment.renamed", "q": "crm"}}


def test_the_longest_filters_fit_into_an_entry() -> None:
    wide = "\N{GRINNING FACE}"  # twelve characters of JSON

    with one_entry(action="audit.read", n_items=0) as entries:
        filters = {f"{n:03}" + wide * 1_000: wide * 9_000 for n in range(500)}
        record_reading(by=BY, n_items=0, filters=filters)

    kept = json.loads(entries[0].details)["filters"]
    assert len(kept) == MAX_FILTERS
    assert set(map(len, kept)) == {MAX_NAME} and set(map(len, kept.values())) == {MAX_TEXT}
    assert len(entries[0].details) <= MAX_DETAILS
