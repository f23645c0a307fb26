"""Query parameters that are one of a few words, or yes or no."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers


class Choice(serializers.ChoiceField):
    """One of the words; a refusal lists them and does not repeat what was sent."""

    default_error_messages = {"invalid_choice": "must be one of: {choices}"}

    def fail(self, key: str, **kwargs: Any) -> None:  # type: ignore[override]
        super().fail(key, **kwargs | {"choices": ", ".join(map(str, self.choices))})


@extend_schema_field(OpenApiTypes.BOOL)
class Switch(serializers.Field):
    """`true` or `false`, as a bool."""

    default_error_messages = {"invalid_choice": "must be one of: true, false"}

    def to_internal_value(self, data: str) -> bool:
        if data not in ("true", "false"):
            self.fail("invalid_choice")
        return data == "true"

    def to_representation(self, value: Any) -> Any:
        return value
