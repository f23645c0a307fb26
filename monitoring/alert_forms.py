"""What staff say when they act on alerts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from monitoring.alert_acts import MAX_NOTE, MAX_SILENCE

LENGTHS = {
    "hour": ("one hour", timedelta(hours=1)),
    "day": ("one day", timedelta(days=1)),
    "week": ("one week", timedelta(weeks=1)),
}
UNTIL = "until"


class NoteForm(forms.Form):
    note = forms.CharField(
        required=False,
        max_length=MAX_NOTE,
        help_text="What you found, or why: kept in the alert's history. May be empty.",
        widget=UnfoldAdminTextareaWidget({"rows": 2}),
    )


class SilenceForm(NoteForm):
    length = forms.ChoiceField(
        label="For",
        choices=[
            *((name, words) for name, (words, _) in LENGTHS.items()),
            (UNTIL, "until the moment below"),
        ],
        initial="day",
        widget=UnfoldAdminSelectWidget,
    )
    until = forms.DateTimeField(
        required=False,
        label="Until (UTC)",
        help_text=f"Only for the last choice; at most {MAX_SILENCE.days} days from now.",
        widget=UnfoldAdminTextInputWidget({"type": "datetime-local"}),
    )
    field_order = ["length", "until", "note"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("length") == UNTIL and data.get("until") is None and not self.errors:
            self.add_error("until", "Say until when.")
        return data

    def ends_at(self, *, at: datetime) -> datetime:
        length = self.cleaned_data["length"]
        ends_at: datetime = (
            self.cleaned_data["until"] if length == UNTIL else at + LENGTHS[length][1]
        )
        return ends_at
