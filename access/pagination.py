"""Keyset pages: `limit` 1 to 1,000, a cursor, a stable order, the same cost at any depth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 100
MAX_CURSOR = 4_000
"""Characters: the longest id, of any script, percent-encoded and in base64, has room."""
DIGITS = re.compile(r"[0-9]{1,6}")
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT})
class LimitField(serializers.Field):
    """A whole number in digits, as a query gives it."""

    default_error_messages = {
        "blank": "must not be blank",
        "invalid": "must be a whole number",
        "out-of-range": f"must be 1 to {MAX_LIMIT:,}",
    }

    def to_internal_value(self, data: str) -> int:
        if not DIGITS.fullmatch(data):
            self.fail("invalid" if data else "blank")
        if not 1 <= int(data) <= MAX_LIMIT:
            self.fail("out-of-range")
        return int(data)

    def to_representation(self, value: int) -> int:
        return value


class LimitQuery(serializers.Serializer):
    """How many at the most."""

    limit = LimitField(required=False, default=DEFAULT_LIMIT, help_text="1 to 1,000.")


@extend_schema_field({"type": "string", "pattern": f"^{BASE64.pattern}$", "maxLength": MAX_CURSOR})
class CursorField(serializers.CharField):
    """The place where a page begins, in base64."""


class PageQuery(LimitQuery):
    """The query of every list."""

    cursor = CursorField(required=False, max_length=MAX_CURSOR, help_text="From next.")


class KeysetPagination(CursorPagination):
    """DRF's cursor over one unique field; a cursor that is not ours is a 400."""

    page_size = DEFAULT_LIMIT
    page_size_query_param = "limit"
    max_page_size = MAX_LIMIT

    def __init__(self, ordering: str, position_form: re.Pattern[str]) -> None:
        self.ordering = ordering
        self.position_form = position_form

    def decode_cursor(self, request: Request) -> Cursor | None:
        sent = request.query_params.get(self.cursor_query_param)
        if sent is not None and not BASE64.fullmatch(sent):  # the decoder overlooks other signs
            raise invalid_cursor()
        try:
            cursor = super().decode_cursor(request)
        except (NotFound, UnicodeDecodeError) as error:
            raise invalid_cursor() from error
        if cursor and not self.position_form.match(str(cursor.position)):
            raise invalid_cursor()
        return cursor

    def envelope(self, results: Sequence[Any]) -> dict[str, Any]:
        return {
            "next": self.get_next_link(),
            "previous": self.get_previous_link(),
            "results": results,
        }


def invalid_cursor() -> ValidationError:
    return ValidationError({"cursor": "is not a cursor of this list"}, code="invalid-cursor")
