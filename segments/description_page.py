"""The segments of one version as people read them: a card each, and what is typical of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access.figures import NONE, figure, share
from access.staff import Table
from ml.cluster_names import EXTREME, NOTABLE
from modelregistry.models import ModelVersion
from segments.models import Fate, Segment, VersionSegment

RETIRED = "retired"
FATE_STYLES = {
    Fate.KEPT.value: "good",
    Fate.MERGED.value: "warn",
    Fate.SPLIT.value: "warn",
    Fate.NEW.value: "info",
    RETIRED: "plain",
}
FIRM, SHAKY = 0.75, 0.6
"""Jaccard similarity from which a segment is stable, and below which it is not to be trusted.
Hennig (2007)."""
FULL_BAR = 3.0
"""Standard deviations that fill the bar; the number beside it goes on."""
HALF_BAR = 50.0
MIN_BAR = 1.0
CARD_WORDS = (
    "sd: standard deviations by which the segment's mean is above or below everyone's, on the "
    f"scale the model uses. From {NOTABLE} on it is worth a word, from {EXTREME} on it is very "
    "high or low; of a date, above is later. Below it stands the median against everyone's, or the "
    "share of a level. How good a rule is was measured on customers that it was not made from."
)


@dataclass(frozen=True, slots=True)
class Effect:
    """One feature that sets a segment apart; the bar lies in 0-100 with everyone at 50."""

    words: str
    size: str
    values: str
    bar_start: float
    bar_width: float


@dataclass(frozen=True, slots=True)
class Rule:
    """`text` is empty where no short rule is good enough; `words` say how good."""

    text: str
    words: str


@dataclass(frozen=True, slots=True)
class Stability:
    label: str
    style: str
    words: str


@dataclass(frozen=True, slots=True)
class Card:
    """One segment of one version; what an older version did not store is empty."""

    link: SafeString
    description: str
    n_customers: str
    share: str
    percent: float
    fate: str
    fate_style: str
    score: str
    effects: list[Effect]
    rule: Rule | None
    stability: Stability | None
    low_confidence: str
    is_described: bool
    segment_id: int


def may_see_segments(request: HttpRequest) -> bool:
    user = request.user
    return user.has_perm("segments.view_segment") or user.has_perm("segments.change_segment")


def segment_link(segment: Segment, *, with_link: bool) -> SafeString:
    """The segment's name and id, with a link to its page for who may see it."""
    name = format_html("{}", segment.name)
    if with_link:
        url = reverse("admin:segments_segment_change", args=[segment.pk])
        name = format_html('<a href="{}">{}</a>', url, segment.name)
    return format_html('{} <span class="seg-note">#{}</span>', name, segment.pk)


def fate_label(fate: str) -> SafeString:
    return format_html('<span class="seg-label seg-label-{}">{}</span>', FATE_STYLES[fate], fate)


def score_text(score: float | None) -> str:
    return NONE if score is None else f"{score:.2f}"


# Cards.


def cards(rows: Iterable[VersionSegment], *, with_links: bool) -> list[Card]:
    """A card for each row, whose `segment` is loaded."""
    return [_card(row, with_link=with_links) for row in rows]


def _card(row: VersionSegment, *, with_link: bool) -> Card:
    profiles = {profile["feature"]: profile for profile in row.features}
    return Card(
        link=segment_link(row.segment, with_link=with_link),
        description=row.segment.description,
        n_customers=figure(row.n_customers),
        share=share(row.share),
        percent=round(100 * row.share, 1),
        fate=row.fate,
        fate_style=FATE_STYLES[row.fate],
        score="" if row.match_score is None else score_text(row.match_score),
        effects=[_effect(item, profiles.get(item["feature"])) for item in row.distinguishing],
        rule=_rule(row.rule),
        stability=stability_of(row.stability),
        low_confidence="" if row.low_confidence_share is None else share(row.low_confidence_share),
        is_described=bool(row.features),
        segment_id=row.segment_id,
    )


def _effect(item: Mapping[str, Any], profile: Mapping[str, Any] | None) -> Effect:
    difference = _signed(item["difference"], profile)
    reach = min(abs(difference) / FULL_BAR, 1.0) * HALF_BAR
    width = max(reach, MIN_BAR)
    return Effect(
        words=item["words"],
        size=f"{_sized(difference)} sd",
        values=_values(profile) if profile else "",
        bar_start=round(HALF_BAR if difference >= 0 else HALF_BAR - width, 1),
        bar_width=round(width, 1),
    )


def _signed(difference: float, profile: Mapping[str, Any] | None) -> float:
    """Positive for more; of a date for later, which training counts as fewer days ago."""
    return -difference if profile and profile["kind"] == "date" else difference


def _sized(difference: float) -> str:
    return f"{round(difference, 1) + 0.0:+.1f}"  # never -0.0


def _values(profile: Mapping[str, Any]) -> str:
    """The segment's figure against everyone's; of a category the level that grows most."""
    levels = profile["levels"]
    if not levels:
        own, everyones = figure(profile["median"]), figure(profile["everyone_median"])
        return f"{own}, as for everyone" if own == everyones else f"{own} against {everyones}"
    gained = max(levels, key=lambda level: level["share"] - level["everyone_share"])
    return f"{gained['level']}: {gained['share']:.0%} against {gained['everyone_share']:.0%}"


def _rule(rule: Mapping[str, Any] | None) -> Rule | None:
    if rule is None:
        return None
    right, finds = f"{rule['precision']:.0%}", f"{rule['recall']:.0%}"
    if rule["is_short"]:
        return Rule(
            rule["text"], f"Right for {right} of those it picks, finds {finds} of the segment."
        )
    if rule["conditions"]:
        return Rule("", f"The best one would be right for only {right} of those it picks.")
    return Rule("", "Too few customers to learn one from.")


def stability_of(stability: float | None) -> Stability | None:
    if stability is None:
        return None
    label = f"{stability:.2f}"
    if stability >= FIRM:
        return Stability(
            f"firm {label}", "good", "found again whenever the customers change a little"
        )
    if stability >= SHAKY:
        return Stability(
            f"soft {label}", "warn", "the pattern is there, but who belongs to it is in doubt"
        )
    return Stability(
        f"shaky {label}", "bad", "often not found again when the customers change a little"
    )


def n_shaky(rows: Iterable[VersionSegment]) -> int:
    return sum(row.stability is not None and row.stability < SHAKY for row in rows)


# What is typical.


N_PROMINENT = 10
"""Features in the table at once, those that set segments apart most; the others are folded away."""
HEAT_STEPS = (0.2, NOTABLE, 0.8, EXTREME)
"""Standard deviations from which a cell is tinted, and tinted more: "small", "medium", "large" of
Cohen (1988), "very large" of Sawilowsky (2009)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """`heat` names the tint: `plus-1` to `plus-4` above everyone, `minus-…` below, or nothing."""

    value: str
    difference: str
    heat: str
    is_notable: bool


TypicalRow: TypeAlias = tuple[str, str, list[Cell]]


@dataclass(frozen=True, slots=True)
class TypicalTable:
    """A feature a row, everyone and then a segment a column; what sets segments apart first."""

    headers: list[str]
    rows: list[TypicalRow]
    others: list[TypicalRow]


def typical_table(version: ModelVersion, rows: Sequence[VersionSegment]) -> TypicalTable:
    """What is typical of each segment and of everyone, with how far it is from everyone's."""
    profiles = [{profile["feature"]: profile for profile in row.features} for row in rows]
    shown: list[tuple[float, TypicalRow]] = []
    for feature in version.schema["features"]:
        name, kind = feature["name"], feature["kind"]
        known = [own.get(name) for own in profiles]
        first = next((profile for profile in known if profile), None)
        cells = [
            _cell(profile)
            if profile
            else Cell(_typical(row.medians.get(name), kind), "", "", is_notable=False)
            for row, profile in zip(rows, known, strict=True)
        ]
        sizes = [abs(profile["difference"] or 0.0) for profile in known if profile]
        row_shown = (name, _everyones(first) if first else NONE, cells)
        shown.append((max(sizes, default=0.0), row_shown))
    shown.sort(key=lambda pair: -pair[0])
    ordered = [row for _, row in shown]
    return TypicalTable(
        ["Feature", "Everyone", *(row.segment.name for row in rows)],
        ordered[:N_PROMINENT],
        ordered[N_PROMINENT:],
    )


def _everyones(profile: Mapping[str, Any]) -> str:
    if profile["kind"] == "boolean":
        return _yes(profile["levels"], "everyone_share")
    return figure(profile["everyone_median"])


def _cell(profile: Mapping[str, Any]) -> Cell:
    if profile["kind"] == "boolean":
        value, beside = _yes(profile["levels"], "share"), _ratio(profile["levels"], "yes")
    elif profile["kind"] == "category":
        value, beside = figure(profile["median"]), _level_share(profile)
    else:
        robust = profile["robust_difference"]
        value = figure(profile["median"])
        beside = f"median {_sized(_signed(robust, profile))}" if round(robust or 0.0, 1) else ""
    difference = profile["difference"]
    if difference is None:
        return Cell(value, beside, "", is_notable=False)
    signed = _signed(difference, profile)
    if profile["kind"] != "category":
        beside = f"{_sized(signed)} sd{f', {beside}' if beside else ''}"
    return Cell(value, beside, _heat(signed), is_notable=abs(difference) >= NOTABLE)


def _heat(difference: float) -> str:
    step = sum(abs(difference) >= least for least in HEAT_STEPS)
    return f"{'plus' if difference > 0 else 'minus'}-{step}" if step else ""


def _yes(levels: Sequence[Mapping[str, Any]], whose: str) -> str:
    return f"{levels[0][whose]:.0%} yes" if levels else NONE


def _ratio(levels: Sequence[Mapping[str, Any]], name: str) -> str:
    return next((f"×{level['ratio']:.1f}" for level in levels if level["level"] == name), "")


def _level_share(profile: Mapping[str, Any]) -> str:
    own = next((each for each in profile["levels"] if each["level"] == profile["median"]), None)
    return f"{own['share']:.0%}, ×{own['ratio']:.1f}" if own else ""


def _typical(value: Any, kind: str) -> str:
    if value is None or kind != "boolean":
        return figure(value)
    return {0.0: "no", 1.0: "yes"}.get(float(value), "both")


def levels_table(rows: Sequence[VersionSegment]) -> Table | None:
    """The share of each level in each segment and in everyone; None without categories."""
    everyone: dict[tuple[str, str], float] = {}
    own: dict[tuple[str, str], dict[int, str]] = {}
    for row in rows:
        for profile in row.features:
            for level in profile["levels"] if profile["kind"] == "category" else ():
                key = (profile["feature"], level["level"])
                everyone[key] = level["everyone_share"]
                text = f"{level['share']:.0%} ×{level['ratio']:.1f}"
                own.setdefault(key, {})[row.pk] = text
    if not everyone:
        return None
    features = list(dict.fromkeys(feature for feature, _ in everyone))
    ordered = sorted(everyone, key=lambda key: (features.index(key[0]), -everyone[key]))
    return Table(
        ["Feature", "Level", "Everyone", *(row.segment.name for row in rows)],
        [
            (*key, f"{everyone[key]:.0%}", *(own[key].get(row.pk, NONE) for row in rows))
            for key in ordered
        ],
        numbers_from=2,
    )
