"""Watching without labels how well a fixed model still segments: its silhouette against training.

The *baseline* is the silhouette that unchanged customers have; it is measured at training. What a
silhouette says depends on how many customers it is measured on and on whether the model was fitted
to them, so both are taken out before two of them are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import ndtr, ndtri

from ml.clusterers import NOISE, FloatArray, IntArray, check_encoded
from ml.drift import POWER_QUANTILE, alarm_threshold
from ml.evaluation import MAX_SILHOUETTE_ROWS
from ml.fitting import Fit
from ml.row_samples import sample_rows
from ml.stability import refit

# Customers with a segment below which nothing is said: segments of a few customers each have
# silhouettes of no meaning. The same as for drift.
MIN_CUSTOMERS = 50
# A silhouette that is lower by less is no loss that anybody would notice; a judgement.
MIN_DROP = 0.02
# Times that the customers of a training are halved at random. The standard error of the two
# corrections is then a tenth of that of the silhouette itself (measured).
N_HALVINGS = 5


class QualityLevel(StrEnum):
    """What one check says; ``unknown`` where it cannot say anything."""

    OK = "ok"
    WARNING = "warning"
    ALARM = "alarm"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MeanSilhouette:
    """The mean silhouette of some customers, noise left out.

    Attributes
    ----------
    mean : -1 to 1
    standard_error : above 0, of the mean over other customers of the same population
    n_customers : those it is the mean of
    """

    mean: float
    standard_error: float
    n_customers: int


@dataclass(frozen=True, slots=True)
class QualityBaseline:
    """The silhouette at training, and what to expect of other customers.

    Attributes
    ----------
    silhouette, standard_error, n_customers : of a sample of the training customers
    size_effect : n customers are expected to score ``size_effect / n`` below very many
    optimism : by how much training customers score above new ones, for being fitted to
    """

    silhouette: float
    standard_error: float
    n_customers: int
    size_effect: float
    optimism: float

    @classmethod
    def fit(cls, X: FloatArray, fit: Fit) -> Self | None:
        """Measure it on the training customers; None where silhouettes are not defined.

        Parameters
        ----------
        X : float64 (n, n_columns), encoded training rows
        fit : what was fitted on them; its `random_state` seeds samples and halves

        Notes
        -----
        Both corrections come from halves of the customers: a half scores lower by one more
        ``size_effect / n``, and a model fitted on one half scores higher there than on the other by
        the optimism of half as many customers, which is twice (Efron, 1983, Estimating the error
        rate of a prediction rule; both effects shrink with 1/n).
        """
        random_state = int(fit.parameters["random_state"])
        rows = sample_rows(len(X), MAX_SILHOUETTE_ROWS, random_state=random_state)
        sample, labels = (X, fit.labels) if rows is None else (X[rows], fit.labels[rows])
        whole = mean_silhouette(sample, labels)
        if whole is None:
            return None
        smaller, optimism = [], []
        for half, other in _halves(len(sample), random_state):
            part = mean_silhouette(sample[half], labels[half])
            if part is not None:
                smaller.append(part.mean)
            optimism += _excess(sample[half], sample[other], fit, len(X))
        lost = whole.mean - float(np.mean(smaller)) if smaller else 0.0
        share = len(sample) / 2 / len(X)
        return cls(
            silhouette=whole.mean,
            standard_error=whole.standard_error,
            n_customers=whole.n_customers,
            size_effect=max(0.0, lost * whole.n_customers),
            optimism=max(0.0, float(np.mean(optimism)) * share) if optimism else 0.0,
        )

    def expected(self, n_customers: int) -> float:
        """Return the silhouette to expect of so many new customers, if nothing changed."""
        by_size = self.size_effect * (1.0 / self.n_customers - 1.0 / n_customers)
        return self.silhouette + by_size - self.optimism

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` gave."""
        return cls(**values)


@dataclass(frozen=True, slots=True)
class QualityChange:
    """How the silhouette of current customers compares with the baseline.

    Attributes
    ----------
    level : QualityLevel
    silhouette : MeanSilhouette or None
        Of the current customers; None where it is not defined.
    expected : float or None
        What unchanged customers would have; None without a baseline or a silhouette.
    drop : float or None
        ``expected`` less what was found; below 0 where it is better.
    z : float or None
        The change in standard errors, below 0 for a loss.
    p_value : float or None
        One-sided: how often unchanged customers score as low.
    sentence : str
        The same in words.
    """

    level: QualityLevel
    silhouette: MeanSilhouette | None
    expected: float | None
    drop: float | None
    z: float | None
    p_value: float | None
    sentence: str


def compare_quality(
    baseline: QualityBaseline | None,
    X: FloatArray,
    labels: IntArray,
    *,
    threshold: float,
    checks_per_year: float,
    warned_before: bool,
    random_state: int,
) -> QualityChange:
    """Compare current customers under a fixed model with its baseline.

    Parameters
    ----------
    X : float64 (n, n_columns), encoded rows; n may be 0
    labels : int64 (n,), their clusters by the model, NOISE = -1
    threshold : one-sided level of a warning, 0-1; less with many checks a year, so that two running
        by chance are as rare as one alarm alone
    checks_per_year : 1 or more; an alarm by one check alone takes `ml.drift.alarm_threshold`
    warned_before : whether the check before, of other customers, warned; then a warning is an alarm
    random_state : seed of the sample

    Returns
    -------
    QualityChange
        A warning and an alarm also take a drop of `MIN_DROP`.

    Raises
    ------
    ValueError for rows that are not encoded, or labels that do not fit them
    """
    check_encoded(X, "X")
    if labels.shape != (len(X),):
        raise ValueError(f"labels: expected shape ({len(X)},), found {labels.shape}")
    clustered = np.flatnonzero(labels != NOISE)
    rows = sample_rows(len(clustered), MAX_SILHOUETTE_ROWS, random_state=random_state)
    sample = clustered if rows is None else clustered[rows]
    found = mean_silhouette(X[sample], labels[sample])
    unknown = _why_unknown(baseline, found, len(clustered))
    if baseline is None or found is None or unknown:
        return QualityChange(QualityLevel.UNKNOWN, found, None, None, None, None, unknown)
    expected = baseline.expected(found.n_customers)
    drop = expected - found.mean
    error = math.hypot(baseline.standard_error, found.standard_error)
    z = -drop / error if error else math.copysign(math.inf, -drop) if drop else 0.0
    p_value = float(ndtr(z))
    level = _level(
        p_value,
        drop,
        threshold=threshold,
        checks_per_year=checks_per_year,
        warned_before=warned_before,
    )
    return QualityChange(
        level, found, expected, drop, z, p_value, _sentence(level, found, expected, drop, p_value)
    )


def could_see(
    drop: float,
    baseline: QualityBaseline,
    standard_error: float,
    *,
    threshold: float,
    checks_per_year: float,
) -> bool:
    """Return whether a check would most likely (80 %) have warned of a drop, were it there.

    Parameters
    ----------
    drop : above 0, of the mean silhouette
    standard_error : of the silhouette that the check found
    threshold, checks_per_year : as `compare_quality` takes them
    """
    error = math.hypot(baseline.standard_error, standard_error)
    needed = POWER_QUANTILE - float(ndtri(_warning_threshold(threshold, checks_per_year)))
    return drop >= needed * error


def mean_silhouette(X: FloatArray, labels: IntArray) -> MeanSilhouette | None:
    """Compute the mean silhouette and its standard error; None with fewer than two clusters.

    Parameters
    ----------
    X : float64 (n, n_columns), encoded rows; the work grows with the square of their number
    labels : int64 (n,); NOISE is left out

    Notes
    -----
    The silhouettes of one sample are dependent: each customer is also in the mean distances of all
    the others. So the error is not that of n separate values (with which one unchanged check in
    three seemed worse at 200 customers) but comes from the influence of each customer: its own
    silhouette, and what it does to the silhouettes of the others through their mean distances.

    Source: Rousseeuw (1987), Silhouettes; Hampel (1974), The influence curve and its role in robust
    estimation.
    """
    clustered = labels != NOISE
    rows, own_labels = (X, labels) if clustered.all() else (X[clustered], labels[clustered])
    if not 2 <= len(np.unique(own_labels)) < len(rows):
        return None
    silhouettes, influences = _influences(cdist(rows, rows), own_labels)
    n_customers = len(rows)
    error = float(np.std(influences, ddof=1)) / math.sqrt(n_customers)
    return MeanSilhouette(float(silhouettes.mean()), error, n_customers)


def _influences(
    distances: NDArray[np.float64], labels: IntArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the silhouette of each row, and the influence of each row on their mean.

    With a the mean distance to the own cluster and b to the nearest other one, a silhouette is
    1 - a/b where a < b and b/a - 1 elsewhere. A row pulls each a and b that it is part of by its
    distance less that mean, over the rows in the mean.
    """
    n_rows = len(labels)
    rows = np.arange(n_rows)
    _, own, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    membership = np.zeros((n_rows, len(sizes)))
    membership[rows, own] = 1.0
    sums = distances @ membership
    means = sums / sizes
    within = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means[rows, own] = np.inf
    nearest = means.argmin(axis=1)
    between = means[rows, nearest]
    means[rows, own] = within
    # Alone in its cluster, or in both clusters alike: 0 whatever the others do.
    defined = (sizes[own] > 1) & (np.maximum(within, between) > 0)
    a, b = np.where(defined, within, 1.0), np.where(defined, between, 1.0)
    larger = np.maximum(a, b)
    silhouettes = (b - a) / larger
    is_inside = a < b
    by_within = np.where(is_inside, -1.0 / larger, -b / larger**2)
    by_between = np.where(is_inside, a / larger**2, 1.0 / larger)
    weights = np.zeros_like(membership)
    weights[rows, own] = np.where(defined, by_within, 0.0) / np.maximum(sizes[own] - 1, 1)
    weights[rows, nearest] += np.where(defined, by_between, 0.0) / sizes[nearest]
    pulled = (weights.T @ distances)[own, rows] - (weights * means).sum(axis=0)[own]
    return silhouettes, silhouettes + pulled


# At training.


def _halves(n_rows: int, random_state: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield each half with the other, so that a difference between them cancels."""
    rng = np.random.default_rng(random_state)
    for _ in range(N_HALVINGS):
        one, other = np.array_split(rng.permutation(n_rows), 2)
        yield one, other
        yield other, one


def _excess(half: FloatArray, other: FloatArray, fit: Fit, n_rows: int) -> list[float]:
    """Return by how much a model of one half scores higher there than on the other, if defined."""
    refitted = refit(half, fit.model, fit.parameters, n_rows=n_rows)
    if refitted is None:
        return []
    scores = [mean_silhouette(rows, refitted.predict(rows).labels) for rows in (half, other)]
    known = [score.mean for score in scores if score is not None]
    return [known[0] - known[1]] if len(known) == 2 else []


# In words.


def _level(
    p_value: float, drop: float, *, threshold: float, checks_per_year: float, warned_before: bool
) -> QualityLevel:
    if p_value > _warning_threshold(threshold, checks_per_year) or drop < MIN_DROP:
        return QualityLevel.OK
    is_alarm = warned_before or p_value <= alarm_threshold(threshold, checks_per_year)
    return QualityLevel.ALARM if is_alarm else QualityLevel.WARNING


def _warning_threshold(threshold: float, checks_per_year: float) -> float:
    """Two warnings running by chance are as rare as one alarm alone."""
    return min(threshold, alarm_threshold(threshold, checks_per_year) ** 0.5)


def _why_unknown(
    baseline: QualityBaseline | None, found: MeanSilhouette | None, n_clustered: int
) -> str:
    if n_clustered < MIN_CUSTOMERS:
        return (
            f"{n_clustered:,} customers have a segment; at least {MIN_CUSTOMERS} are needed to "
            "judge how well they are segmented."
        )
    if found is None:
        return "All customers are in one segment, so there is no silhouette."
    if baseline is None:
        return "At training no silhouette was measured that this one could be compared with."
    return ""


def _sentence(
    level: QualityLevel, found: MeanSilhouette, expected: float, drop: float, p_value: float
) -> str:
    figures = (
        f"The silhouette of {found.n_customers:,} customers is {found.mean:.3f} "
        f"± {found.standard_error:.3f}; {expected:.3f} was expected from training."
    )
    if level == QualityLevel.OK and drop >= MIN_DROP:
        return f"{figures} So low a figure may be chance (p = {p_value:.2g})."
    if level == QualityLevel.OK:
        return f"{figures} The segments are as distinct as they were."
    return f"{figures} The segments are less distinct than at training (p = {p_value:.2g})."
