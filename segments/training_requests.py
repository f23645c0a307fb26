"""What may be trained: a request is checked whole before anything is queued or fitted.

The command, the admin and the API all pass through `checked`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec
from django.db.models import Value
from django.db.models.functions import StrIndex

from ml.fitting import MIN_CUSTOMERS, ParameterError, TooFewCustomers, parse_parameters
from modelregistry.training import TrainingRequest
from segments.customers import known_attributes
from segments.models import Customer

MAX_NOTE = 500
"""Characters."""
MAX_FEATURES = 1_000
"""As many as one customer may have attributes."""


@dataclass(frozen=True, slots=True)
class RequestProblem:
    """What is wrong at `path`, the keys and indices that lead to it.

    `value` is what stands there, where a person needs it beside the detail.
    """

    path: tuple[str | int, ...]
    detail: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.value!r}: {self.detail}" if self.value else self.detail


class InvalidRequest(ValueError):
    """A training that cannot be asked for; `problems` says what is wrong and where."""

    def __init__(self, problems: Sequence[RequestProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(" ".join(map(str, problems)))


def checked(request: TrainingRequest) -> TrainingRequest:
    """The request with its parameters read and bounded.

    Raises `InvalidRequest`, or `TooFewCustomers` when there is nothing to train on.
    """
    features = None if request.features is None else list(request.features)
    problems = [*_parameter_problems(request), *_feature_problems(features)]
    if len(request.note) > MAX_NOTE:
        problems.append(RequestProblem(("note",), f"note: at most {MAX_NOTE} characters."))
    if problems:
        raise InvalidRequest(problems)
    if n_missing := n_missing_to_train():
        n_customers = MIN_CUSTOMERS - n_missing
        raise TooFewCustomers(
            f"Training needs at least {MIN_CUSTOMERS} customers, found {n_customers}."
        )
    parameters = parse_parameters(request.model_type, request.parameters)
    return replace(request, parameters=parameters, features=features)


def n_missing_to_train() -> int:
    """How many customers more a training needs; never counts more than that."""
    return MIN_CUSTOMERS - Customer.objects.all()[:MIN_CUSTOMERS].count()


def _parameter_problems(request: TrainingRequest) -> Iterator[RequestProblem]:
    """One problem for each parameter; what only shows in all together, if each is right."""
    n_found = 0
    for name, value in request.parameters.items():
        try:
            parse_parameters(request.model_type, {name: value})
        except ParameterError as error:
            n_found += 1
            yield RequestProblem(("parameters", name), str(error))
    if not n_found:
        try:
            parse_parameters(request.model_type, request.parameters)
        except ParameterError as error:
            yield RequestProblem(("parameters",), str(error))


def _feature_problems(features: Sequence[str] | None) -> Iterator[RequestProblem]:
    if features is None:
        return
    if not features:
        yield RequestProblem(("features",), "features: name one at least, or leave them out.")
        return
    if len(features) > MAX_FEATURES:
        yield RequestProblem(("features",), f"features: at most {MAX_FEATURES:,} names.")
        return
    known = known_attributes()
    for place, name in enumerate(features):
        if name in features[:place]:
            yield RequestProblem(("features", place), "named twice.", name)
        elif name not in known and not _is_stored(name):
            near = ", ".join(map(repr, _near(name, known)))
            hint = f"; near matches: {near}" if near else ""
            yield RequestProblem(
                ("features", place), f"the customers have no such attribute{hint}.", name
            )


def _near(name: str, known: Sequence[str]) -> list[str]:
    folded = {each.casefold(): each for each in known}
    return [folded[match] for match in difflib.get_close_matches(name.casefold(), folded)]


def _is_stored(name: str) -> bool:
    """Whether any customer has the attribute; asked only for a name the latest ones lack."""
    key = f"{msgspec.json.encode(name).decode()}:"  # which another name may end with
    # Not `contains`, which ignores case on SQLite.
    found = Customer.objects.alias(place=StrIndex("attributes_json", Value(key)))
    return any(name in customer.attributes for customer in found.filter(place__gt=0).iterator())
