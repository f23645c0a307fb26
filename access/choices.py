"""Query parameters that are one of a few words."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class Choice(serializers.ChoiceField):
    """One of the words; a refusal lists them and does not repeat what was sent."""

    default_error_messages = {"invalid_choice": "must be one of: {choices}"}

    def fail(self, key: str, **kwargs: Any) -> None:  # type: ignore[override]
        super().fail(key, **kwargs | {"choices": ", ".join(map(str, self.choices))})
