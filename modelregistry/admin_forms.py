"""What staff say when they train, activate and roll back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from ml.fitting import ParameterError, parse_parameters
from modelregistry.activation import MAX_REASON, ActivationConflict, Gate
from modelregistry.models import ActiveModel, ModelType
from modelregistry.training import TrainingRequest

MAX_NOTE = 500
PARAMETERS = {
    ModelType.KMEANS.value: ("n_clusters", "n_init"),
    ModelType.DBSCAN.value: ("eps", "min_samples"),
}
"""The fields of each type; every one may be left empty, and those of the other type must be."""
OTHERS = {
    ModelType.KMEANS.value: PARAMETERS[ModelType.DBSCAN],
    ModelType.DBSCAN.value: PARAMETERS[ModelType.KMEANS],
}


def parameter_field(label: str, help_text: str, empty: str = "chosen for you") -> forms.CharField:
    """Text, because `ml.fitting` reads and bounds it for every door alike; `empty` says in the
    field what an empty one means."""
    return forms.CharField(
        required=False,
        max_length=40,
        label=label,
        help_text=help_text,
        widget=UnfoldAdminTextInputWidget({"inputmode": "decimal", "placeholder": empty}),
    )


def words_of(error: ParameterError) -> str:
    """Without the parameter's own name: it stands at its field."""
    words = str(error).rpartition(": ")[2]
    return f"{words[:1].upper()}{words[1:]}."


class TrainForm(forms.Form):
    model_type = forms.ChoiceField(
        choices=ModelType.choices, widget=UnfoldAdminSelectWidget({"x-model": "type"})
    )
    n_clusters = parameter_field(
        "Number of segments (k)", "Empty: chosen from 2 to 12, with the reason. Or 2 to 50."
    )
    n_init = parameter_field("Starts", "Empty: the best of 10 starts.", "10")
    eps = parameter_field(
        "Radius (eps)",
        "Empty: chosen by density validity, with the reason. A distance in standard deviations.",
    )
    min_samples = parameter_field("Neighbours (min_samples)", "Empty: from the number of columns.")
    random_state = parameter_field("Seed", "Empty: 0. The same seed gives the same segments.", "0")
    features = forms.MultipleChoiceField(
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None ticked: every attribute that carries information.",
    )
    note = forms.CharField(
        required=False,
        max_length=MAX_NOTE,
        help_text="Why it is trained; shown with the version.",
        widget=UnfoldAdminTextInputWidget,
    )

    def __init__(self, *args: Any, attributes: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        features = cast(forms.MultipleChoiceField, self.fields["features"])
        features.choices = [(name, name) for name in attributes]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        model_type = data.get("model_type")
        if model_type is None:
            return data
        for name in OTHERS[model_type]:
            if data.get(name, "").strip():
                label = ModelType(model_type).label
                self.add_error(name, f"This is no parameter of {label}; leave it empty.")
        names = (*PARAMETERS[model_type], "random_state")
        given = {name: data[name].strip() for name in names if data.get(name, "").strip()}
        data["parameters"] = {}
        for name, value in given.items():
            try:
                data["parameters"] |= parse_parameters(model_type, {name: value})
            except ParameterError as error:
                self.add_error(name, words_of(error))
        return data

    def parameters_of(self, model_type: str) -> list[forms.BoundField]:
        return [self[name] for name in PARAMETERS[model_type]]

    def kmeans_fields(self) -> list[forms.BoundField]:
        return self.parameters_of(ModelType.KMEANS)

    def dbscan_fields(self) -> list[forms.BoundField]:
        return self.parameters_of(ModelType.DBSCAN)

    def training_request(self) -> TrainingRequest:
        data = self.cleaned_data
        return TrainingRequest(
            data["model_type"], data["parameters"], data["features"] or None, data["note"]
        )


class MoveForm(forms.Form):
    """A reason, force where a gate is breached, and how often the active version had changed when
    the page was shown."""

    reason = forms.CharField(
        max_length=MAX_REASON,
        help_text="Kept in the ledger and in the audit trail.",
        widget=UnfoldAdminTextareaWidget({"rows": 2}),
    )
    force = forms.BooleanField(
        required=False,
        label="Let it serve although a gate is breached",
        help_text="The reason and what was measured are kept together.",
        widget=UnfoldBooleanWidget,
    )
    generation = forms.IntegerField(widget=forms.HiddenInput)

    def require_generation(self, pointer: ActiveModel) -> None:
        """Raise `ActivationConflict` when the page shows what is no longer so."""
        if self.cleaned_data.get("generation", pointer.generation) != pointer.generation:
            raise ActivationConflict(
                "Nothing was done: the active version changed since this page was opened, and "
                f"{pointer.active} serves now. Look and try again."
            )

    def offer_force(self, gates: Sequence[Gate]) -> None:
        """Show the box only where there is something to overrule."""
        if not any(gate.is_breached for gate in gates):
            del self.fields["force"]
