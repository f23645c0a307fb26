"""From encoded rows and a few parameters to a trained, judged model of either type.

*Parameters* are what the caller states; what is not stated is chosen, and the fit says how.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ml.cluster_fits import continue_kmeans, fit_dbscan, fit_kmeans, n_density_rows
from ml.clusterers import ClusterModel, FloatArray, IntArray, check_encoded
from ml.eps_selection import LARGEST_MIN_SAMPLES, choose_eps, default_min_samples
from ml.evaluation import ClusteringQuality, degenerate_reason, evaluate
from ml.selection import Selection, choose_n_clusters

# Below this no figure about segments means anything; a judgement, stated to the caller.
MIN_CUSTOMERS = 10
DEFAULT_N_INIT = 10
# The largest seed that numpy's older generator, which scikit-learn uses, accepts.
MAX_SEED = 2**32 - 1
# Encoded columns lie within some tens of standard deviations: a larger radius holds everyone.
MAX_EPS = 1e6

Parameters: TypeAlias = dict[str, int | float]
Progress: TypeAlias = Callable[[float, str], None]


class ParameterError(ValueError):
    """A parameter that the model type does not know, or a value it cannot take."""


class TooFewCustomers(ValueError):
    """Fewer customers than a model can be trained on."""


class Trained(NamedTuple):
    """What a trainer of one type gives back; the words are those of `Fit`."""

    model: ClusterModel
    labels: IntArray
    parameters: Parameters
    selection: Selection | None
    warm_started: bool = False
    n_fitted: int | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """A trained model with everything known about its training.

    Attributes
    ----------
    model : ClusterModel
    labels : int64 array (n,)
        Cluster of each training row, ``NOISE`` for none.
    parameters : dict
        Complete: stated, chosen and default ones with ``random_state``.
    selection : Selection or None
        How k or eps was chosen; None when it was stated.
    quality : ClusteringQuality
    degenerate_reason : str or None
        Why this clustering does not segment, None when it does.
    warm_started : bool
        Whether the clusters were fitted from the initial centres; False where none were given,
        they did not fit, or a fresh start was clearly better.
    n_fitted : int or None
        Rows of the sample that DBSCAN was fitted on in place of a large table (`fit_dbscan` says
        what that gives up); None where the fit saw every row.
    """

    model: ClusterModel
    labels: IntArray
    parameters: Parameters
    selection: Selection | None
    quality: ClusteringQuality
    degenerate_reason: str | None
    warm_started: bool = False
    n_fitted: int | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    """What one parameter may be; bounds are inclusive."""

    kind: type[int] | type[float]
    lowest: float
    highest: float

    def describe(self) -> str:
        if self.kind is int:
            return f"a whole number from {self.lowest:,.0f} to {self.highest:,.0f}"
        return f"a number above 0, at most {self.highest:,.0f}"


_SEED = _Rule(int, 0, MAX_SEED)
_RULES: dict[str, dict[str, _Rule]] = {
    "kmeans": {
        "n_clusters": _Rule(int, 2, 50),
        "n_init": _Rule(int, 1, 100),
        "random_state": _SEED,
    },
    "dbscan": {
        "eps": _Rule(float, math.ulp(0.0), MAX_EPS),
        "min_samples": _Rule(int, 1, LARGEST_MIN_SAMPLES),
        "random_state": _SEED,
    },
}
_ALIASES: dict[str, dict[str, str]] = {"kmeans": {"k": "n_clusters"}, "dbscan": {}}


def parameter_bounds() -> dict[str, tuple[type[int] | type[float], float, float]]:
    """Tell what each parameter may be.

    Returns
    -------
    dict
        int or float, lowest and highest, by every name a caller may use with any model type.
    """
    stated = [
        (name, rules[_ALIASES[model_type].get(name, name)])
        for model_type, rules in _RULES.items()
        for name in [*rules, *_ALIASES[model_type]]
    ]
    return {name: (rule.kind, rule.lowest, rule.highest) for name, rule in stated}


def parse_parameters(model_type: str, given: Mapping[str, object]) -> Parameters:
    """Read parameters as people and programs state them.

    Parameters
    ----------
    model_type : str
        ``kmeans`` or ``dbscan``.
    given : mapping
        Numbers, or texts of numbers; ``k`` stands for ``n_clusters``.

    Returns
    -------
    dict
        The stated ones only, under their full names, as int or float.

    Raises
    ------
    ParameterError
        Unknown model type or name, one parameter stated twice, or a value out of bounds; the
        text lists what is allowed.
    """
    rules = _rules_of(model_type)
    parsed: Parameters = {}
    for stated, value in given.items():
        name = _ALIASES[model_type].get(stated, stated)
        if name not in rules:
            also = {full: f" (or {short})" for short, full in _ALIASES[model_type].items()}
            allowed = "; ".join(
                f"{known}{also.get(known, '')}: {rule.describe()}" for known, rule in rules.items()
            )
            raise ParameterError(
                f"{stated!r} is no parameter of {model_type}. Allowed are {allowed}."
            )
        if name in parsed:
            raise ParameterError(f"{name} is stated twice")
        parsed[name] = _parsed(name, value, rules[name])
    return parsed


def fit_clusters(
    model_type: str,
    X: FloatArray,
    *,
    parameters: Mapping[str, object],
    random_state: int = 0,
    initial_centers: FloatArray | None = None,
    widths: Sequence[int] | None = None,
    on_progress: Progress | None = None,
) -> Fit:
    """Train a model, choosing what the caller leaves open, and judge it.

    Parameters
    ----------
    model_type : str
        ``kmeans`` or ``dbscan``.
    X : float64 array (n, n_columns)
        Encoded rows.
    parameters : mapping
        As `parse_parameters` takes them; may be empty.
    random_state : int
        Seed of everything random, unless `parameters` states one.
    initial_centers : float64 array (k, n_columns), optional
        Centres of the active version among these rows (`ml.identity.mean_centres`). A k that is not
        stated stays their number unless another is clearly better; k-means starts from them as well
        as afresh, where they are as many as clusters to be fitted and have the columns of X. DBSCAN
        has no start.
    widths : sequence of int, optional
        Columns of X that each feature has, in order; one each if not given. Only the evidence of
        segments asks.
    on_progress : callable, optional
        Called with the share done (0-1) and what comes next.

    Returns
    -------
    Fit

    Raises
    ------
    ParameterError
        See `parse_parameters`.
    TooFewCustomers
        Fewer than `MIN_CUSTOMERS` rows.
    ValueError
        X or the initial centres have the wrong shape, dtype or values, or X too few distinct rows.
    """
    stated = parse_parameters(model_type, {"random_state": random_state, **parameters})
    check_encoded(X, "X")
    if initial_centers is not None:
        check_encoded(initial_centers, "initial_centers")
    if len(X) < MIN_CUSTOMERS:
        raise TooFewCustomers(f"Training needs at least {MIN_CUSTOMERS} customers, found {len(X)}.")
    report = on_progress or _silent
    if model_type == "kmeans":
        trained = _train_kmeans(X, stated, initial_centers, widths, report)
    else:
        trained = _train_dbscan(X, stated, report)
    report(0.8, "judging the clusters")
    quality = evaluate(X, trained.labels, random_state=int(stated["random_state"]))
    report(1.0, "done")
    return Fit(
        model=trained.model,
        labels=trained.labels,
        parameters=trained.parameters,
        selection=trained.selection,
        quality=quality,
        degenerate_reason=degenerate_reason(quality),
        warm_started=trained.warm_started,
        n_fitted=trained.n_fitted,
    )


def _train_kmeans(
    X: FloatArray,
    stated: Parameters,
    initial_centers: FloatArray | None,
    widths: Sequence[int] | None,
    report: Progress,
) -> Trained:
    seed = int(stated["random_state"])
    complete: Parameters = {"n_init": DEFAULT_N_INIT, **stated}
    selection = None
    if "n_clusters" not in stated:
        report(0.0, "choosing k")
        incumbent = None if initial_centers is None else len(initial_centers)
        selection = choose_n_clusters(
            X,
            incumbent=incumbent,
            widths=widths,
            random_state=seed,
            on_progress=lambda share: report(0.6 * share, "choosing k"),
        )
        complete |= selection.chosen
    report(0.6, "fitting k-means")
    n_clusters, n_init = int(complete["n_clusters"]), int(complete["n_init"])
    if initial_centers is not None and initial_centers.shape == (n_clusters, X.shape[1]):
        model, labels, warm_started = continue_kmeans(
            X, initial_centers=initial_centers, n_init=n_init, random_state=seed
        )
        return Trained(model, labels, complete, selection, warm_started)
    model, labels = fit_kmeans(X, n_clusters=n_clusters, n_init=n_init, random_state=seed)
    return Trained(model, labels, complete, selection)


def _train_dbscan(X: FloatArray, stated: Parameters, report: Progress) -> Trained:
    complete: Parameters = {"min_samples": default_min_samples(X.shape[1]), **stated}
    selection = None
    if "eps" not in stated:
        report(0.0, "choosing eps")
        min_samples = int(stated["min_samples"]) if "min_samples" in stated else None
        selection = choose_eps(X, min_samples=min_samples, random_state=int(stated["random_state"]))
        complete |= selection.chosen
    report(0.4, "fitting DBSCAN")
    model, labels = fit_dbscan(
        X,
        eps=float(complete["eps"]),
        min_samples=int(complete["min_samples"]),
        random_state=int(complete["random_state"]),
    )
    n_fitted = n_density_rows(len(X))
    return Trained(
        model, labels, complete, selection, n_fitted=n_fitted if n_fitted < len(X) else None
    )


def _silent(share: float, step: str) -> None:
    """Report to nobody."""


def _rules_of(model_type: str) -> dict[str, _Rule]:
    if model_type not in _RULES:
        raise ParameterError(f"{model_type!r} is no model type. Allowed are {', '.join(_RULES)}.")
    return _RULES[model_type]


def _parsed(name: str, value: object, rule: _Rule) -> int | float:
    refusal = ParameterError(f"{name}: expected {rule.describe()}")
    # A bool is an int to Python, and a parameter of True is a slip.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise refusal
    try:
        number = rule.kind(value)
    except (ValueError, OverflowError) as error:
        raise refusal from error
    # int(4.5) cuts off instead of failing.
    cut_off = isinstance(value, float) and number != value
    if cut_off or not rule.lowest <= number <= rule.highest:
        raise refusal
    return number
