"""What the trail keeps of a changed form: never a password, and never a long text."""

from __future__ import annotations

from datetime import UTC, datetime

from django import forms

from access.form_changes import MAX_TEXT, changes_of


class AnyForm(forms.Form):
    name = forms.CharField()
    rate = forms.FloatField()
    until = forms.DateTimeField(required=False)
    is_open = forms.BooleanField(required=False)
    new_password = forms.CharField()


def test_changes_are_fields_before_and_after() -> None:
    form = AnyForm(
        {"name": "ü" * 1_000, "rate": "0.5", "is_open": "on", "new_password": "hunter-22"},
        initial={
            "name": "old",
            "rate": 0.5,
            "until": datetime(2026, 1, 31, 12, tzinfo=UTC),
            "is_open": False,
        },
    )
    assert form.is_valid()

    changes = changes_of(form)

    assert changes == {
        "name": ["old", "ü" * (MAX_TEXT - 1) + "…"],
        "until": ["2026-01-31T12:00:00+00:00", None],
        "is_open": [False, True],
        "password": [None, "changed"],
    }
    assert list(changes) == ["name", "until", "is_open", "password"]
