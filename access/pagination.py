"""Keyset pages: `limit` 1 to 1,000, a cursor, a stable order, the same cost at any depth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 100


class LimitQuery(serializers.Serializer):
    """How many at the most."""

    limit = serializers.RegexField(
        r"^[0-9]{1,6}$", required=False, default=str(DEFAULT_LIMIT), help_text="1 to 1,000."
    )

    def validate_limit(self, text: str) -> int:
        if not 1 <= int(text) <= MAX_LIMIT:
            raise serializers.ValidationError(f"must be 1 to {MAX_LIMIT:,}", code="out-of-range")
        return int(text)


class PageQuery(LimitQuery):
    """The query of every list."""

    cursor = serializers.CharField(required=False, max_length=1_000, help_text="From next.")


class KeysetPagination(CursorPagination):
    """DRF's cursor over one unique field; a cursor that is not ours is a 400."""

    page_size = DEFAULT_LIMIT
    page_size_query_param = "limit"
    max_page_size = MAX_LIMIT

    def __init__(self, ordering: str, position_form: re.Pattern[str]) -> None:
        self.ordering = ordering
        self.position_form = position_form

    def decode_cursor(self, request: Request) -> Cursor | None:
        try:
            cursor = super().decode_cursor(request)
        except (NotFound, UnicodeDecodeError) as error:
            raise _invalid_cursor() from error
        if cursor and cursor.position and not self.position_form.match(str(cursor.position)):
            raise _invalid_cursor()
        return cursor

    def envelope(self, results: Sequence[Any]) -> dict[str, Any]:
        return {
            "next": self.get_next_link(),
            "previous": self.get_previous_link(),
            "results": results,
        }


def _invalid_cursor() -> ValidationError:
    return ValidationError({"cursor": "is not a cursor of this list"}, code="invalid-cursor")
