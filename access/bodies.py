"""Bodies that tell the server to do something: strict objects, where a slip is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c"
    r"\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""All but the tab and the ends of lines."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Body(serializers.Serializer):
    """An object of the declared fields and no other; no body at all is an empty object."""

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """The fields that were sent. Raises ValidationError."""
        is_sent = request.META.get("CONTENT_LENGTH") not in (None, "", "0")
        data = request.data if is_sent else {}
        if not isinstance(data, Mapping):
            raise serializers.ValidationError("The body must be an object.")
        body = cls(data=data)
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)

    def to_internal_value(self, data: Any) -> Any:
        allowed = ", ".join(self.fields) or "none"
        detail = f"is not a field here; allowed: {allowed}"
        unknown = {str(name): [detail] for name in data if name not in self.fields}
        if unknown:
            raise serializers.ValidationError(unknown, code="unknown-field")
        return super().to_internal_value(data)


class Text(serializers.CharField):
    """Text that shows as it is, and nothing that could be read as text."""

    default_error_messages = {
        "bad_text": "Control, bidirectional and zero-width characters are not allowed."
    }

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if UNSEEN.search(data):
            self.fail("bad_text")
        return super().to_internal_value(data)


class Number(serializers.Field):
    """A JSON number: no text that holds one, and not true for 1."""

    default_error_messages = {"invalid": "A number is needed."}

    def to_internal_value(self, data: Any) -> int | float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class Moment(serializers.DateTimeField):
    """A moment as text that says its zone: no two readers may take it for different hours."""

    default_error_messages = {
        "invalid": "A moment with its zone is needed, such as 2030-01-31T09:00:00Z."
    }

    def to_internal_value(self, value: Any) -> datetime:
        if not isinstance(value, str) or not MOMENT.fullmatch(value):
            self.fail("invalid")
        return super().to_internal_value(value)


class Flag(serializers.BooleanField):
    """true or false, and nothing that could be read as either."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input="this")
        return data
