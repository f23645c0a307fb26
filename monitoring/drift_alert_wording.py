"""What an alert about drift says: title, sentences, advice, figures and chart of its troubles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml.check_result import CERTAIN
from monitoring.drift_troubles import ORDER, Sort, Trouble
from monitoring.models import DriftReport

N_TITLE, N_SENTENCES, N_FACTS, N_LABELS = 2, 4, 6, 12
SEGMENTS_TITLE = "Segments"
"""Of the chart of segments."""
MAX_NAME = 60
"""Characters of one column's name in a title or an advice."""

SHIFTED = (
    "Look whether the business changed (prices, a campaign, the season) or the way it is recorded; "
    "retrain when the change stays."
)
ADVICE = {
    Sort.GONE: "Look at the feed that fills {names}: no customer has a usable value any more.",
    Sort.VANISHED: "Look whether the customers of {names} still reach this system, for a source "
    "may be cut off; retrain when they really left.",
    Sort.UNSEEN: "Ask what the new values in {names} mean; retrain when they stay.",
    Sort.MISSING: "Look at the feed that fills {names}: its share of missing values changed.",
    Sort.VALUES: SHIFTED,
    Sort.FAR: "Look who is far from every segment; retrain to find a segment that is forming.",
    Sort.SEGMENTS: SHIFTED,
    Sort.PAIR: SHIFTED,
}
BY_THEMSELVES = (Sort.GONE, Sort.VANISHED, Sort.UNSEEN, Sort.MISSING)
"""Sorts that say what to do however much else moved with them."""


def in_order(troubles: Sequence[Trouble]) -> list[Trouble]:
    """The most telling first, then the surest."""
    return sorted(
        troubles,
        key=lambda each: (
            not each.is_sure,
            ORDER.index(each.sort),
            each.finding["p_adjusted"],
            -abs(each.effect),
        ),
    )


def title(report: DriftReport, troubles: Sequence[Trouble]) -> str:
    """Version and what is wrong; pairs are left to the facts where anything else is."""
    named = [each for each in troubles if each.sort != Sort.PAIR] or troubles
    more = f" and {len(named) - N_TITLE} more" if len(named) > N_TITLE else ""
    return f"Drift in {report.version}: {_names(named[:N_TITLE])}{more}"


def summary(troubles: Sequence[Trouble]) -> str:
    """The sentences of the findings behind it, each once."""
    sentences = list(dict.fromkeys(each.sentence for each in troubles))
    left = len(sentences) - N_SENTENCES
    more = f" {left} more {'finding' if left == 1 else 'findings'}." if left > 0 else ""
    return " ".join(f"{sentence}." for sentence in sentences[:N_SENTENCES]) + more


def advice(troubles: Sequence[Trouble]) -> str:
    """What to do: about feeds and levels where these are wrong, else about what moved."""
    sorts = list(dict.fromkeys(each.sort for each in troubles))
    if Sort.GONE in sorts:
        sorts.remove(Sort.MISSING)
    chosen = [sort for sort in sorts if sort in BY_THEMSELVES] or sorts
    return " ".join(
        dict.fromkeys(
            ADVICE[sort].format(names=_places([each for each in troubles if each.sort == sort]))
            for sort in chosen
        )
    )


def facts(report: DriftReport, troubles: Sequence[Trouble]) -> tuple[tuple[str, str], ...]:
    """What was compared, and the figures of the surest findings."""
    since = f" since {report.since:%Y-%m-%d %H:%M}" if report.since else ""
    seen = f" of {report.n_seen:,}" if report.n_seen > report.n_current else ""
    figures = {each.name: _figures(each) for each in troubles}
    return (
        ("Version", str(report.version)),
        ("Customers", f"{report.get_source_display()}{since}"),
        ("Compared", f"{report.n_current:,}{seen}, with {report.n_reference:,} of the training"),
        ("Report", f"{report.pk} of {report.created_at:%Y-%m-%d %H:%M}"),
        *list(figures.items())[:N_FACTS],
    )


def chart(report: DriftReport, troubles: Sequence[Trouble]) -> dict[str, Any]:
    """Shares of customers before and now, of the first trouble that the report has them of."""
    tables = {table["feature"]: table for table in report.report.get("tables", ())}
    for each in troubles:
        feature = each.finding["feature"]
        if feature is None:
            return _of_segments(report.report["segments"])
        if each.sort != Sort.PAIR and feature in tables:
            return _of_table(tables[feature])
    return _of_segments(report.report["segments"])


def _names(troubles: Sequence[Trouble]) -> str:
    return ", ".join(_short(each.name) for each in troubles)


def _places(troubles: Sequence[Trouble]) -> str:
    """The columns or segments that troubles of one sort are in."""
    places = [each.finding["feature"] or each.name.removesuffix(": vanished") for each in troubles]
    more = f" and {len(places) - N_TITLE} more" if len(places) > N_TITLE else ""
    return f"{', '.join(map(_short, places[:N_TITLE]))}{more}"


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def _figures(trouble: Trouble) -> str:
    finding = trouble.finding
    if trouble.sort == Sort.VANISHED or finding["check"] in CERTAIN:  # no matter of a p value
        return trouble.sentence
    return (
        f"{finding['effect_name']} {trouble.effect:+.3g} (counts from {finding['floor']:.3g}), "
        f"adjusted p {finding['p_adjusted']:.2g}"
    )


def _of_table(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": _short(table["feature"]),
        "unit": "share of customers",
        "labels": list(table["labels"][:N_LABELS]),
        "before": list(table["before"][:N_LABELS]),
        "now": list(table["now"][:N_LABELS]),
    }


def _of_segments(shifts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The segments that moved most, in their order."""
    moved = sorted(shifts, key=lambda each: -abs(each["current_share"] - each["reference_share"]))
    kept = [shift for shift in shifts if shift in moved[:N_LABELS]]
    return {
        "title": SEGMENTS_TITLE,
        "unit": "share of customers",
        "labels": [_segment_label(shift) for shift in kept],
        "before": [shift["reference_share"] for shift in kept],
        "now": [shift["current_share"] for shift in kept],
    }


def _segment_label(shift: Mapping[str, Any]) -> str:
    if shift["segment"] is None:
        return "noise"
    return _short(shift["segment_name"] or f"segment {shift['segment']}")
