"""The first steps: import customers, train a model, activate it."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import reverse

from modelregistry.models import ModelVersion

VIEW_VERSIONS, VIEW_CUSTOMERS = "modelregistry.view_modelversion", "segments.view_customer"


@dataclass(frozen=True, slots=True)
class Step:
    """`url` is empty for who may not take the step, and where its turn has not come."""

    title: str
    words: str
    is_done: bool
    url: str
    button: str


def guide(
    request: HttpRequest, *, has_customers: bool, candidate: ModelVersion | None
) -> list[Step]:
    """The steps until a first version serves; `candidate` is a trained one."""
    may = request.user.has_perms
    import_url = train_url = activate_url = ""
    if may(["segments.import_customer", VIEW_CUSTOMERS]):
        import_url = reverse("admin:segments_customer_import_view")
    if has_customers and may(["modelregistry.train_modelversion", VIEW_VERSIONS]):
        train_url = reverse("admin:modelregistry_modelversion_train")
    if candidate is not None and may([VIEW_VERSIONS]):
        activate_url = reverse("admin:modelregistry_modelversion_change", args=[candidate.pk])
    return [
        Step(
            "Import customers",
            "A table with a row for each customer, as CSV, TSV or Parquet. Every column may become "
            "a feature.",
            has_customers,
            import_url,
            "Import more" if has_customers else "Import customers",
        ),
        Step(
            "Train a model",
            "It runs in the background, chooses features and the number of segments by itself, and "
            "describes what it found.",
            candidate is not None,
            train_url,
            "Train another" if candidate else "Train a model",
        ),
        Step(
            "Activate it",
            "Look at the segments of the version and let it serve; until then predictions are "
            "answered with 503.",
            False,
            activate_url,
            f"See {candidate}" if candidate else "",
        ),
    ]
