"""The sentences of a drift comparison, from its figures. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ml.check_result import Check, CheckResult, Shown
from ml.clusterers import NOISE

Floats = NDArray[np.float64]

MIN_RANGE_SHARE = 0.01  # customers outside the range seen that a sentence mentions
MIN_MEDIAN_SD = 0.05  # shift (reference sd) below which the median says nothing
N_ALSO = 4  # further findings that a verdict names


def percent(share: float) -> str:
    """Return a share (0-1) for reading."""
    return f"{100 * share:.1f} %"


def figure(value: float) -> str:
    """Return a raw value for reading, to four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def cluster_name(cluster: int, names: Mapping[int, str]) -> str:
    """Return what a cluster is called."""
    if cluster == NOISE:
        return "noise"
    return names.get(cluster, f"cluster {cluster}")


def of_distribution(name: str, shown: Shown, effect: float) -> str:
    """Say where the values went: the median, or the mean where the median stayed."""
    assert shown.median_before is not None and shown.median_now is not None
    shift, outside = shown.median_shift_sd, shown.out_of_range_share or 0.0
    if shown.mean_before is not None and abs(shift or 0.0) < MIN_MEDIAN_SD:
        assert shown.mean_now is not None
        moved = f"mean {figure(shown.mean_before)} before, {figure(shown.mean_now)} now"
    else:
        moved = f"median {figure(shown.median_before)} before, {figure(shown.median_now)} now"
        moved += "" if shift is None else f" ({shift:+.2f} reference sd)"
    beyond = f", {percent(outside)} outside the range of training"
    return (
        f"{name}: {moved}, distributions {percent(abs(effect))} apart at most"
        f"{beyond if outside >= MIN_RANGE_SHARE else ''}"
    )


def of_boolean(name: str, shown: Shown) -> str:
    assert shown.mean_now is not None
    before = "" if shown.mean_before is None else f"{percent(shown.mean_before)} before, "
    return f"{name}: true for {before}{percent(shown.mean_now)} now"


def of_date(name: str, shown: Shown, effect: float, *, since: str) -> str:
    assert shown.median_before is not None and shown.median_now is not None
    return (
        f"{name}: median {figure(shown.median_before)} days before training, "
        f"{figure(shown.median_now)} days before {since} now, distributions "
        f"{percent(abs(effect))} apart at most"
    )


def of_tail(name: str, *, upper: bool, before: float, now: float, bound: float) -> str:
    side = "above" if upper else "below"
    return (
        f"{name}: the mean of values {side} {figure(bound)} was {figure(before)}, now {figure(now)}"
    )


def of_too_few(name: str, n_reference: int, n_current: int) -> str:
    return f"{name}: too few values to compare ({n_reference} before, {n_current} now)"


def of_missing(name: str, before: float, now: float, n_unreadable: int) -> str:
    wrong = f", {n_unreadable:,} values of another type among them" if n_unreadable else ""
    return f"{name}: missing for {percent(before)} before, {percent(now)} now{wrong}"


def of_gone(name: str, kind: str, had_one: float, n_unreadable: int) -> str:
    if n_unreadable:
        return f"{name}: every value is of another type; {percent(had_one)} were a {kind} before"
    return f"{name}: no current customer has a value; {percent(had_one)} of the reference had one"


def of_unseen(name: str, share: float, expected: float) -> str:
    return (
        f"{name}: {percent(share)} of customers have a level never seen before, "
        f"{percent(expected)} expected"
    )


def of_largest_move(subject: str, names: Sequence[str], before: Floats, now: Floats) -> str:
    """Say whose share of the customers changed most."""
    most = int(np.abs(now - before).argmax())
    return (
        f"{subject}: {names[most]} from {percent(before[most])} to {percent(now[most])} "
        "of customers"
    )


def of_correlation(name: str, other: str, before: float, now: float) -> str:
    return f"{name} and {other}: correlation of ranks {before:+.2f} before, {now:+.2f} now"


def of_distance(before: float, now: float) -> str:
    return (
        f"Segments: median distance of customers to what their segment is like "
        f"{figure(before)} before, {figure(now)} now"
    )


def of_far(before: float, now: float, location: Sequence[tuple[str, float]]) -> str:
    """Say how many customers lie far from every segment, and where: features in reference sd."""
    where = ", ".join(f"{name} {shift:+.1f} sd" for name, shift in location)
    return (
        f"Segments: {percent(now)} of customers lie far from every segment, {percent(before)} did "
        f"before; a new segment may be forming{f' at {where}' if where else ''}"
    )


def of_inside(cluster: str, name: str, effect: float, *, ordered: bool) -> str:
    if ordered:
        direction = "higher" if effect > 0 else "lower"
        return f"{cluster}: {name} lies {direction}, distributions {percent(abs(effect))} apart"
    return f"{cluster}: {name} moved for {percent(effect)} of its customers"


def of_nothing_wrong(n_checks: int, visible: float | None) -> str:
    seen = (
        "" if visible is None else f"; a shift of {visible:.2f} sd would most likely have been seen"
    )
    return f"None of {n_checks} checks shows drift{seen}."


def of_findings(findings: Sequence[CheckResult], n_checks: int, *, alarmed: bool) -> str:
    """Say what was found: the surest in full, the others by name."""
    first, *others = findings
    named = list(dict.fromkeys(map(_briefly, others)))
    more = f" and {len(named) - N_ALSO} more" if len(named) > N_ALSO else ""
    also = f" Also: {', '.join(named[:N_ALSO])}{more}." if named else ""
    wait = "" if alarmed else " It counts as drift once the next check finds it again."
    return (
        f"{len(findings)} of {n_checks} checks {'show' if len(findings) > 1 else 'shows'} "
        f"{'drift' if alarmed else 'a change'}; first: {first.sentence}.{also}{wait}"
    )


def of_insufficient(n_current: int, n_reference: int, least_current: int, least: int) -> str:
    if not n_current:
        return "Nothing new: there are no current customers to compare."
    return (
        f"Too few customers to judge: {n_current} current (at least {least_current} needed), "
        f"{n_reference} in the reference (at least {least} needed)."
    )


BRIEF = {
    Check.MISSING: "missing",
    Check.LOWER_TAIL: "lowest values",
    Check.UPPER_TAIL: "highest values",
    Check.UNSEEN: "new levels",
    Check.GONE: "gone",
    Check.RETYPED: "another type",
    Check.SEGMENTS: "shares of segments",
    Check.DISTANCE: "distance to segments",
    Check.FAR: "customers far from every segment",
}


def _briefly(finding: CheckResult) -> str:
    """Name a finding in a few words."""
    words = BRIEF.get(finding.check)
    if finding.other is not None:
        return f"{finding.feature} with {finding.other}"
    if finding.feature is None:
        return str(words)
    return f"{finding.feature} ({words})" if words else finding.feature
