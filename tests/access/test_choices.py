"""Query parameters are refused without a word of what was sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.urls import get_resolver
from rest_framework import serializers

from access.api import ApiView, typed_query
from access.choices import Choice

SENT = "Fr0mAClient"


class Query(serializers.Serializer):
    store = Choice(choices=["true", "false"], default="true")


def queries() -> Iterator[type[serializers.Serializer]]:
    """The query of every API view that takes one."""
    assert get_resolver().url_patterns  # the views are imported

    def views(base: type[ApiView]) -> Iterator[type[ApiView]]:
        for view in base.__subclasses__():
            yield view
            yield from views(view)

    found = {view.query_serializer_class for view in views(ApiView)}
    yield from (query for query in found if query is not None)


def test_a_refused_choice_lists_the_words() -> None:
    with pytest.raises(serializers.ValidationError) as refused:
        typed_query(Query, f"store={SENT}".encode())

    (error,) = refused.value.detail["store"]
    assert (str(error), error.code) == ("must be one of: true, false", "invalid_choice")
    assert typed_query(Query, b"store=false") == {"store": "false"}


def test_no_query_parameter_echoes_what_was_sent() -> None:
    n_refused = 0
    for query in queries():
        for name in query().fields:
            for value in (SENT, SENT * 1_000, f"{SENT}%00"):
                try:
                    typed_query(query, f"{name}={value}".encode())
                except serializers.ValidationError as refused:
                    n_refused += 1
                    assert SENT not in str(refused.detail), (query, name)

    assert n_refused >= 15
