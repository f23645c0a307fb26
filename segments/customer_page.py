"""One customer as a person reads it: attributes, assignments, and why it is in its segments."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from access.figures import NONE, figure
from access.staff import Table
from ml.clusterers import Prediction
from ml.features import Kind
from modelregistry.activation import active_versions, load
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import ModelType, ModelVersion
from segments.assignment import SegmentLabels
from segments.changes import Cause
from segments.customer_history import Move, SegmentPlace, history_of
from segments.description_page import segment_link
from segments.explanations import Explanation, LacksValues, explain_stored
from segments.models import Assignment, AssignmentChange, Customer, Status

NOISE_WORDS = "no segment (noise)"
STATUS_WORDS = {
    Status.CORE: "core: many customers are much like this one",
    Status.BORDER: "border: close to such customers, without being among the many",
    Status.NOISE: "noise: too few customers are like this one",
}
MAX_BARS = 6
"""Contributions drawn; the table has all of them."""
MIN_SPOKEN, MAX_SPOKEN = 0.05, 3
"""Share from which a feature is named in the sentence, and how many are named."""
WHOLE_BAR = 100.0
MAX_VALUE = 80
"""Characters of a value that stand in its cell; the others unfold."""
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bar:
    """One contribution; the bar lies in 0-100, where `zero` is no contribution at all."""

    feature: str
    size: str
    values: str
    start: float
    width: float
    zero: float


@dataclass(frozen=True, slots=True)
class Why:
    """One active version's view of the customer; what cannot be said is empty."""

    version: ModelVersion
    facts: Sequence[tuple[str, Any]]
    warning: str
    gap: str
    bars: Sequence[Bar]
    figures: Table | None


def attributes_table(attributes: Mapping[str, Any], serving: Sequence[ModelVersion]) -> Table:
    """Every attribute with its kind, and the models in use that look at it."""
    used: dict[str, list[str]] = {}
    for version in serving:
        for feature in version.schema["features"]:
            used.setdefault(feature["name"], []).append(version.get_model_type_display())
    return Table(
        ["Attribute", "Value", "Kind", "Used by"],
        [
            (name, _attribute(value), _kind(value), ", ".join(used.get(name, [])) or NONE)
            for name, value in attributes.items()
        ],
        empty="No attribute is known of this customer.",
    )


def _attribute(value: Any) -> str | SafeString:
    """As it is stored; a long text is folded away behind its beginning."""
    if value is None:
        return format_html('<span class="seg-note">{}</span>', "missing")
    text = str(_shown(value))
    if len(text) <= MAX_VALUE:
        return text
    return format_html(
        '<details class="seg-value"><summary>{}…</summary><p>{}</p></details>',
        text[:MAX_VALUE],
        text,
    )


def _kind(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "number"
    return "date" if ISO_DATE.fullmatch(value) else "text"


def history_table(moves: Sequence[Move]) -> Table:
    return Table(
        ["When", "Model", "From", "To", "Why"],
        [
            (
                f"{move.at:%d %b %Y %H:%M}",
                move.version.get_model_type_display(),
                _place(move.before),
                _place(move.after),
                why_moved(move),
            )
            for move in moves
        ],
        empty="No move is known.",
    )


def _place(place: SegmentPlace) -> str:
    if not place.is_assigned:
        return "not assigned"
    return place.name or NOISE_WORDS


def why_moved(move: Move) -> str:
    if move.cause == Cause.ACTIVATION:
        return f"{move.version} was activated"
    if move.cause == Cause.NEW_CUSTOMER:
        return f"first assigned by {move.version}"
    return f"attributes changed, under {move.version}"


MODELS_REACHED = (
    "What stored models keep of {}: core samples, centres that only they make up, "
    "ends of ranges and rare levels. The models are rewritten and checked first."
)
WORDS_REACHED = (
    "Their values and rare words in stored drift inputs, reports, alerts, descriptions and "
    "suggested names."
)


def reach_of_erasure(customer: Customer) -> list[str]:
    """What an erasure takes, in words; two queries on the customer's own rows."""
    n_assigned = Assignment.objects.filter(customer=customer).count()
    n_attributes = len(customer.attributes)
    return [
        f"The id and {n_attributes:,} attribute{'' if n_attributes == 1 else 's'}.",
        f"Assignments to segments under {n_assigned:,} version{'' if n_assigned == 1 else 's'}.",
        _moves_reached([customer.pk]),
        MODELS_REACHED.format("this customer"),
        WORDS_REACHED,
    ]


def reach_of_erasures(ids: Sequence[str]) -> list[str]:
    """As `reach_of_erasure`, of several customers together."""
    n_assigned = Assignment.objects.filter(customer__in=ids).count()
    return [
        "Their ids and all their attributes.",
        f"{n_assigned:,} assignment{'' if n_assigned == 1 else 's'} to segments.",
        _moves_reached(ids),
        MODELS_REACHED.format("these customers"),
        WORDS_REACHED,
    ]


def _moves_reached(ids: Sequence[str]) -> str:
    n_moves = AssignmentChange.objects.filter(customer__in=ids).count()
    return f"{n_moves:,} noted move{'' if n_moves == 1 else 's'} between segments."


def assignments_of(customer: Customer) -> list[Assignment]:
    """Under each version, those that serve and those that do not; one query."""
    return list(
        Assignment.objects.filter(customer=customer)
        .select_related("version", "segment")
        .order_by("version__model_type", "-version__number")
    )


def assignments_table(
    customer: Customer, assignments: Sequence[Assignment], serving: Sequence[ModelVersion]
) -> Table:
    active = {version.pk for version in serving}
    return Table(
        ["Version", "Segment", "Status", "Assigned", "Distance"],
        [
            (
                f"{row.version} (active)" if row.version_id in active else row.version,
                row.segment or NOISE_WORDS,
                row.get_status_display() or NONE,
                f"{_moment(row)}{', before the last change' if is_stale(customer, row) else ''}",
                f"{row.distance:.3f}" if math.isfinite(row.distance) else NONE,
            )
            for row in assignments
        ],
        numbers_from=4,
        empty="No version has assigned this customer yet.",
    )


def is_stale(customer: Customer, assignment: Assignment) -> bool:
    """Whether it was made from attributes that have changed since."""
    return assignment.customer_revision != customer.revision


def customer_context(customer: Customer, *, directory: Path, with_links: bool) -> dict[str, Any]:
    """What the page shows; a few queries, and the active models from memory."""
    serving = sorted(active_versions(), key=lambda version: version.model_type)
    assignments = assignments_of(customer)
    by_version = {row.version_id: row for row in assignments}
    history = history_of(customer, assignments)
    return {
        "title": f"Customer {customer.customer_id}",
        "facts": [("Stored", customer.created_at), ("Last changed", customer.updated_at)],
        "attributes": attributes_table(customer.attributes, serving),
        "whys": [
            why(
                customer,
                version,
                by_version.get(version.pk),
                directory=directory,
                with_links=with_links,
            )
            for version in serving
        ],
        "assignments": assignments_table(customer, assignments, serving),
        "history": history_table(history.moves),
        "history_since": history.known_since,
        "is_history_cut": history.is_cut,
    }


def why(
    customer: Customer,
    version: ModelVersion,
    assignment: Assignment | None,
    *,
    directory: Path,
    with_links: bool,
) -> Why:
    """Why the customer is in its segment under a version, from its attributes as stored."""
    rows = {row.segment_id: row for row in version.segments.select_related("segment")}
    links: dict[int | None, str] = {None: NOISE_WORDS}
    links |= {key: segment_link(row.segment, with_link=with_links) for key, row in rows.items()}
    stored = _stored_facts(assignment, links)
    labels = SegmentLabels.named((row.cluster, key, row.segment.name) for key, row in rows.items())
    try:
        model = load(version, directory=directory)
        prediction, explanation = explain_stored(model, labels, customer.attributes)
    except DamagedArtifact as error:
        return Why(version, stored, f"Why cannot be said: {error}", "", [], None)
    except LacksValues as lack:
        return Why(version, stored, _lack_words(lack, assignment), "", [], None)
    found, next_one = labels.ids[int(prediction.labels[0])], explanation.runner_up
    compared = [("Its segment", found), ("The next", next_one)]
    return Why(
        version=version,
        facts=[
            *stored,
            ("Next nearest", "none" if next_one is None else links[next_one]),
            ("Confidence", _confidence_words(explanation)),
        ],
        warning=_staleness(customer, assignment, links[found]),
        gap=_gap_words(version, prediction, explanation),
        bars=_bars(explanation.contributions, customer.attributes),
        figures=_figures(
            version,
            explanation.contributions,
            customer.attributes,
            {title: rows[key].medians for title, key in compared if key is not None},
        ),
    )


def _stored_facts(
    assignment: Assignment | None, links: Mapping[int | None, str]
) -> list[tuple[str, Any]]:
    if assignment is None:
        return [("Segment", "not assigned")]
    facts: list[tuple[str, Any]] = [("Segment", links[assignment.segment_id])]
    if assignment.status:
        facts.append(("Status", STATUS_WORDS[Status(assignment.status)]))
    return [*facts, ("Assigned", _moment(assignment))]


def _lack_words(lack: LacksValues, assignment: Assignment | None) -> str:
    words = f"It cannot be assigned: {lack}, and the version needs it."
    return words if assignment is None else f"{words} The segment is that of earlier attributes."


def _staleness(customer: Customer, assignment: Assignment | None, found: str) -> str:
    if assignment is None:
        return format_html("It is not assigned yet; by its attributes it belongs to: {}.", found)
    if is_stale(customer, assignment):
        return format_html(
            "Its attributes changed after it was assigned. The reasons are those of the new ones, "
            "by which it belongs to: {}.",
            found,
        )
    return ""


def _confidence_words(explanation: Explanation) -> str:
    if explanation.confidence is None:
        return NONE
    return f"{explanation.confidence:.0%} (0% on the border)"


def _gap_words(version: ModelVersion, prediction: Prediction, explanation: Explanation) -> str:
    """How far the next segment is; distances are in standard deviations of the features."""
    distance = float(prediction.distances[0])
    if explanation.confidence is None:
        return "The version has no segment to compare it with."
    if explanation.runner_up is None:
        return "There is no other segment to compare it with."
    if prediction.status == [Status.NOISE]:
        eps = float(version.parameters["eps"])
        return (
            f"The nearest customer inside a segment is {distance:.2f} away; to belong to it, it "
            f"would have to be within {eps:.2f}. The bars say which features hold it away."
        )
    parts = [part["contribution"] for part in explanation.contributions]
    other = math.sqrt(max(distance * distance + sum(parts), 0.0))
    if prediction.status == [Status.CORE]:
        far = f"It is one of the customers that make up its segment; the next is {other:.2f} away."
    else:
        place = "centre" if version.model_type == ModelType.KMEANS else "nearest customer"
        far = (
            f"The {place} of its own segment is {distance:.2f} away, that of the next {other:.2f}."
        )
    against = "; to the left, for the next" if min(parts, default=0.0) < 0 else ""
    spoken = _spoken(explanation.contributions)
    return f"{far} {spoken} Bars to the right speak for its own segment{against}."


def _spoken(contributions: Sequence[Mapping[str, Any]]) -> str:
    """The features that decide most, in a sentence."""
    said = [part for part in contributions if abs(part["share"]) >= MIN_SPOKEN][:MAX_SPOKEN]
    pro = " and ".join(part["feature"] for part in said if part["share"] > 0)
    contra = " and ".join(part["feature"] for part in said if part["share"] < 0)
    sentences = [f"Most of all {pro} hold it in its own."] if " and " in pro else []
    sentences += [f"Most of all {pro} holds it in its own."] if pro and " and " not in pro else []
    sentences += [f"Against it: {contra}."] if contra else []
    return " ".join(sentences)


def _bars(contributions: Sequence[Mapping[str, Any]], attributes: Mapping[str, Any]) -> list[Bar]:
    drawn = contributions[:MAX_BARS]
    shares = [part["share"] for part in drawn]
    low = min([0.0, *shares])
    span = max([0.0, *shares]) - low or 1.0
    return [
        Bar(
            feature=part["feature"],
            size=f"{part['share']:+.0%}",
            values=str(_shown(attributes.get(part["feature"]))),
            start=round((min(part["share"], 0.0) - low) / span * WHOLE_BAR, 2),
            width=round(abs(part["share"]) / span * WHOLE_BAR, 2),
            zero=round(-low / span * WHOLE_BAR, 2),
        )
        for part in drawn
    ]


def _figures(
    version: ModelVersion,
    contributions: Sequence[Mapping[str, Any]],
    attributes: Mapping[str, Any],
    medians: Mapping[str, Mapping[str, Any]],
) -> Table | None:
    """The bars' twin: every contribution, beside the value and the medians of the segments."""
    if not contributions:
        return None
    kinds = {feature["name"]: feature["kind"] for feature in version.schema["features"]}
    rows = []
    for part in contributions:
        name = part["feature"]
        typical = [_typical(own.get(name), kinds[name]) for own in medians.values()]
        value = _shown(attributes.get(name))
        rows.append(
            (name, f"{part['share']:+.1%}", f"{part['contribution']:+.3f}", value, *typical)
        )
    headers = ["Feature", "Share", "Contribution", "Its value", *medians]
    return Table(headers, rows, numbers_from=1)


def _typical(median: Any, kind: str) -> str:
    if kind == Kind.BOOLEAN and median in (0.0, 1.0):
        return str(_shown(bool(median)))
    return figure(median)


def _shown(value: Any) -> Any:
    if value is None:
        return "missing"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _moment(assignment: Assignment) -> str:
    return assignment.assigned_at.strftime("%d %b %Y %H:%M")
