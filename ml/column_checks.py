"""The checks of one column: where its values lie, its tails, what is missing, unseen or gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ml import drift_wording
from ml.check_result import Check, CheckResult, Floors, Shown, undecided
from ml.features import Kind
from ml.ordered_cells import anderson_darling, ks_distance
from ml.reference_profile import Column, LevelColumn, OrderedColumn, count_levels, sorted_values
from ml.shown_distances import (
    cell_means,
    jensen_shannon,
    psi,
    psi_of_ordered_cells,
    wasserstein,
)
from ml.tail_cells import TailCells
from ml.two_sample_tests import (
    TestOutcome,
    all_hits_chance,
    chi_square,
    hypergeometric_two_sided,
    pool_rare,
    share_moved,
)

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MIN_VALUES = 10  # values in either sample below which a distribution is not compared

# Weights inside a column, relative to each other.
DISTRIBUTION_WEIGHT, TAIL_WEIGHT, MISSING_WEIGHT = 4, 1, 2
LEVELS_WEIGHT, UNSEEN_WEIGHT = 3, 1

# A column without a single value is gone unless that is credible of a column mostly empty before;
# then the missing rate is tested like any other, so that the family keeps its promise.
GONE_CHANCE = 1e-4


def check_column(
    column: Column,
    values: Floats,
    floors: Floors,
    *,
    n_unreadable: int = 0,
    days_since_training: int = 0,
) -> list[CheckResult]:
    """Check one column; nothing is checked where it never had a value.

    Parameters
    ----------
    column : profile of the reference
    values : float64 (n,), raw unit or level codes; NaN = missing
    floors : smallest effects that count
    n_unreadable : missing values that were given, but of another type
    days_since_training : by which dates may have moved on

    Raises
    ------
    ValueError for an infinite value or a code outside the levels
    """
    if isinstance(column, LevelColumn):
        counted = count_levels(column.name, values, len(column.levels))
        gone = _check_gone(column, counted[2], len(values), n_unreadable)
        return _check_levels(column, *counted, floors) if gone is None else gone
    present = sorted_values(column.name, values)
    n_missing = len(values) - len(present)
    gone = _check_gone(column, n_missing, len(values), n_unreadable)
    if gone is not None:
        return gone
    if column.kind == Kind.DATE:
        checks = [_check_dates(column, present, floors, days_since_training)]
    else:
        checks = [_check_distribution(column, present, floors)]
    for tail in (column.lower_tail, column.upper_tail):
        if tail is not None:
            checks.append(_check_tail(column, tail, present, floors))
    if column.n_missing + n_missing:
        checks.append(_check_missing(column, n_missing, len(values), n_unreadable, floors))
    return checks


def _check_gone(
    column: Column, n_missing: int, n_current: int, n_unreadable: int
) -> list[CheckResult] | None:
    """Return the finding that no value is left, an empty list where there never was one, or None
    where the column can be compared."""
    if n_missing < n_current:
        return None
    if column.n_missing == column.n_customers:
        return []
    chance = all_hits_chance(column.n_missing, column.n_customers, n_current)
    if chance > GONE_CHANCE:
        return None
    had_one = 1 - column.n_missing / column.n_customers
    finding = undecided(
        Check.RETYPED if n_unreadable else Check.GONE,
        TestOutcome("none", float(n_current), chance),
        feature=column.name,
        kind=column.kind,
        sizes=(column.n_customers, n_current),
        effect=had_one,
        floor=0.0,
        sentence=drift_wording.of_gone(column.name, column.kind, had_one, n_unreadable),
        weight=0.0,
    )
    return [replace(finding, p_adjusted=chance, drifted=True)]


def _check_distribution(column: OrderedColumn, present: Floats, floors: Floors) -> CheckResult:
    """Return the check of where the values lie."""
    reference = np.array(column.cells.counts, dtype=np.int64)
    current = column.cells.count(present)
    if min(int(reference.sum()), len(present)) < MIN_VALUES:
        return _too_few(column, Check.DISTRIBUTION, len(present), floors.distribution)
    effect = ks_distance(reference, current)
    shown = _shown(column, present, reference, current)
    if column.kind == Kind.BOOLEAN:
        sentence = drift_wording.of_boolean(column.name, shown)
    else:
        sentence = drift_wording.of_distribution(column.name, shown, effect)
    return undecided(
        Check.DISTRIBUTION,
        anderson_darling(reference, current),
        feature=column.name,
        kind=column.kind,
        sizes=(int(reference.sum()), len(present)),
        effect=effect,
        floor=floors.distribution,
        sentence=sentence,
        weight=DISTRIBUTION_WEIGHT,
        shown=shown,
    )


def _check_dates(
    column: OrderedColumn, present: Floats, floors: Floors, days_since_training: int
) -> CheckResult:
    """Return the check of dates, which pass by themselves.

    Two readings are natural. Dates stay where they are (a birthday, a sign-up), and customers who
    came since training add later ones, which are left out. Or dates move along with the clock (a
    last purchase), and stand as long before the check as they stood before training. Only dates
    that neither reading explains are drift: the larger p value counts.
    """
    moving = _check_distribution(column, present + days_since_training, floors)
    if not days_since_training:
        return moving
    known = np.concatenate(
        [
            present[: np.searchsorted(present, -days_since_training, side="left")],
            present[np.searchsorted(present, 0.0, side="left") :],
        ]
    )
    staying = _check_distribution(column, known, floors)
    kept, since = max(
        ((staying, "training"), (moving, "this check")), key=lambda each: each[0].p_value
    )
    if kept.shown.median_now is None:
        return kept
    return replace(
        kept,
        sentence=drift_wording.of_date(column.name, kept.shown, kept.effect, since=since),
    )


def _check_tail(
    column: OrderedColumn, tail: TailCells, present: Floats, floors: Floors
) -> CheckResult:
    """Return the check of where the values of one tail lie, however many there are."""
    check = Check.UPPER_TAIL if tail.upper else Check.LOWER_TAIL
    values = tail.values_in(present)
    reference = np.array(tail.cells.counts, dtype=np.int64)
    if len(values) < MIN_VALUES:
        too_few = _too_few(column, check, len(values), floors.tail)
        return replace(too_few, n_reference=int(reference.sum()), weight=TAIL_WEIGHT)
    current = tail.cells.count(values)
    return undecided(
        check,
        anderson_darling(reference, current),
        feature=column.name,
        kind=column.kind,
        sizes=(int(reference.sum()), len(values)),
        effect=ks_distance(reference, current),
        floor=floors.tail,
        sentence=drift_wording.of_tail(
            column.name,
            upper=tail.upper,
            before=tail.mean,
            now=float(values.mean()),
            bound=tail.bound,
        ),
        weight=TAIL_WEIGHT,
    )


def _check_missing(
    column: OrderedColumn, n_missing: int, n_current: int, n_unreadable: int, floors: Floors
) -> CheckResult:
    """Return the check of how many customers have no value."""
    n = column.n_customers
    before, now = column.n_missing / n, n_missing / n_current
    return undecided(
        Check.MISSING,
        hypergeometric_two_sided(column.n_missing, n, n_missing, n_current),
        feature=column.name,
        kind=column.kind,
        sizes=(n, n_current),
        effect=now - before,
        floor=floors.missing,
        sentence=drift_wording.of_missing(column.name, before, now, n_unreadable),
        weight=MISSING_WEIGHT,
    )


def _check_levels(
    column: LevelColumn, known: Counts, n_unknown: int, n_missing: int, floors: Floors
) -> list[CheckResult]:
    """Return the check of the known levels, missing being one of them, and of unseen levels."""
    reference = np.array([*column.counts, column.n_missing], dtype=np.int64)
    current = np.append(known, n_missing)
    n, m = column.n_customers, int(current.sum()) + n_unknown
    # In an open list new levels replace rare ones without any drift: the two must be one cell.
    # In a closed list they would only put the blame for a new level on the known ones as well.
    is_open = column.n_unseen_expected > 0
    rest = (column.n_unknown, n_unknown) if is_open else (0, 0)
    cells = pool_rare(reference, current, rest=rest)
    names = [repr(level) for level in column.levels] + ["missing"]
    everyone = np.append(reference, column.n_unknown), np.append(current, n_unknown)
    levels = undecided(
        Check.LEVELS,
        chi_square(*cells),
        feature=column.name,
        kind=column.kind,
        sizes=(n, m),
        effect=share_moved(*cells),
        floor=floors.levels,
        sentence=drift_wording.of_largest_move(column.name, names, reference / n, current / m),
        weight=LEVELS_WEIGHT,
        shown=Shown(psi=psi(*everyone), jensen_shannon=jensen_shannon(*everyone)),
    )
    return [levels, _check_unseen(column, n_unknown, m, floors)]


def _check_unseen(
    column: LevelColumn, n_unknown: int, n_current: int, floors: Floors
) -> CheckResult:
    """Return the check of levels the reference never had.

    Customers of one new level come together, so current customers beyond the size of the
    reference sharpen nothing: the current sample counts as at most as large.
    """
    n, expected = column.n_customers, column.n_unseen_expected / column.n_customers
    share = n_unknown / n_current
    counted = min(n, n_current)
    hits = n_unknown if counted == n_current else int(share * counted)
    return undecided(
        Check.UNSEEN,
        hypergeometric_two_sided(column.n_unseen_expected, n, hits, counted),
        feature=column.name,
        kind=column.kind,
        sizes=(n, n_current),
        effect=share - expected,
        floor=floors.unseen,
        sentence=drift_wording.of_unseen(column.name, share, expected),
        weight=UNSEEN_WEIGHT,
    )


def _too_few(column: OrderedColumn, check: Check, n_current: int, floor: float) -> CheckResult:
    """Return a check that says nothing because there are too few values."""
    n_reference = sum(column.cells.counts)
    return undecided(
        check,
        TestOutcome("none", 0.0, 1.0),
        feature=column.name,
        kind=column.kind,
        sizes=(n_reference, n_current),
        effect=0.0,
        floor=floor,
        sentence=drift_wording.of_too_few(column.name, n_reference, n_current),
        weight=DISTRIBUTION_WEIGHT,
    )


def _shown(column: OrderedColumn, present: Floats, reference: Counts, current: Counts) -> Shown:
    """Return the figures beside a distribution check."""
    median = _middle(present)
    outside = np.searchsorted(present, column.low, "left") + len(present)
    outside -= np.searchsorted(present, column.high, "right")
    apart = None
    if column.means and column.sd > 0:
        apart = wasserstein(
            reference, np.array(column.means), current, cell_means(present, current)
        )
    return Shown(
        median_before=column.median,
        median_now=median,
        mean_before=column.mean,
        mean_now=float(present.mean()),
        median_shift_sd=(median - column.median) / column.sd if column.sd > 0 else None,
        psi=psi_of_ordered_cells(reference, current),
        jensen_shannon=jensen_shannon(reference, current),
        wasserstein_sd=None if apart is None else apart / column.sd,
        out_of_range_share=int(outside) / len(present),
    )


def _middle(values: Floats) -> float:
    """Return the median of sorted values, at least one."""
    return (float(values[(len(values) - 1) // 2]) + float(values[len(values) // 2])) / 2
