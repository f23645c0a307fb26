"""Taking single customers out of trained clusters, so that all others stay in theirs.

A core sample of DBSCAN is a customer's encoded row, and so is the centre of a k-means cluster of
one. Whose it was at training its `Owners` say; a model without them is searched for the rows as
they are now. *Others* are the encoded rows of all customers who stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ml.cluster_fits import distinct_rows
from ml.clusterers import (
    NOISE,
    ClusterModel,
    DBSCANModel,
    FloatArray,
    KMeansModel,
    Prediction,
    widened,
)
from ml.owners import Digests, Owners, PlaceArray

DigestsOf: TypeAlias = Callable[[NDArray[np.intp]], Digests]

MAX_COMPARED = 20_000_000
"""Others times core samples up to which all predictions are compared, in well under a second; of
more those who may be nearest to what goes. What that leaves out is an exact tie of two others."""
N_LANDMARKS = 64
"""Core samples that say how far the nearest one of a row is at the most."""
N_DIRECTIONS = 24
"""Random places tried at each distance."""
STEPS = (0.9, 0.7, 0.5, 0.3, 0.15, 0.05)
"""Distances tried, as shares of the largest possible: the farther, the less is said of anybody."""
NOBODYS = -1
"""In place of a core sample or centre: the row is none."""
SAME_PLACE = 1e-9
"""Relative: the mean of one row is that row but for rounding."""


@dataclass(frozen=True)
class Forgotten:
    """Clusters without some rows.

    Attributes
    ----------
    model : the clusters as they are now
    n_removed : core samples or centres that were a row of nobody else
    n_stand_ins : invented ones, for others who would have lost their cluster
    n_checked : others whose prediction was compared
    rows : intp (m,), others whose prediction is not what it was
    prediction : what it is now
    n_moved : how many of them are in another cluster
    """

    model: ClusterModel
    n_removed: int
    n_stand_ins: int
    n_checked: int
    rows: NDArray[np.intp]
    prediction: Prediction
    n_moved: int


def with_owners(model: ClusterModel, X: FloatArray, digests: Digests) -> ClusterModel:
    """The same model that also knows whose rows its core samples and centres are.

    Parameters
    ----------
    X : float64 (n, n_columns), the rows that it was trained on
    digests : uint64 (n,), of the customers they are of
    """
    places = _place_of_each(model, X)
    owned = places != NOBODYS
    return _owned_by(model, Owners.of(digests[owned], places[owned]))


def _place_of_each(model: ClusterModel, X: FloatArray) -> PlaceArray:
    """The core sample or centre that each row is, NOBODYS for none."""
    if isinstance(model, KMeansModel):
        found = model.predict(X)
        reach = SAME_PLACE * np.maximum(1.0, np.abs(X).max(axis=1))
        return np.where(found.distances <= reach, found.labels, NOBODYS)
    n_places = len(model.core_samples)
    like = np.arange(len(X))  # few are left after some columns, and only these need be sorted
    for values, theirs in zip(X.T, model.core_samples.T, strict=True):
        like = like[np.isin(values[like], theirs)]
    _, _, row = distinct_rows(np.vstack([model.core_samples, X[like]]))
    place_of = np.full(len(row), NOBODYS, dtype=np.int64)
    place_of[row[:n_places]] = np.arange(n_places)
    places = np.full(len(X), NOBODYS, dtype=np.int64)
    places[like] = place_of[row[n_places:]]
    return places


def forget_rows(
    model: ClusterModel,
    gone: FloatArray,
    others: FloatArray,
    *,
    rng: np.random.Generator,
    gone_digests: Digests,
    digests_of: DigestsOf,
) -> Forgotten | None:
    """Take rows and owners out of a model; a row that an other has now is from then on theirs.

    DBSCAN: the core samples go. For an other who would come into another cluster or into none, a
    *stand-in*, an invented core sample, is placed at random near them where it changes nobody
    else's cluster. K-means: the centre moves at random, as far as nobody changes cluster.

    Parameters
    ----------
    gone : float64 (k, n_columns)
    others : float64 (n, n_columns)
    rng : seeded by nothing that anybody knows, or what it does could be undone
    gone_digests : uint64, of all who go, as they may be among the model's owners
    digests_of : the digests, uint64, of some others by their rows

    Returns
    -------
    Forgotten; None where the model holds none of the rows and has none of the owners.
    """
    places = _places(model)
    held = held_rows(model, gone, gone_digests)
    heirs = {place: np.flatnonzero((others == places[place]).all(axis=1)) for place in held}
    own = np.array([place for place in held if not len(heirs[place])], dtype=np.intp)
    inherited: list[int] = []
    if model.owners is not None:
        inherited = np.setdiff1d(model.owners.places_of(gone_digests), own).tolist()
        owners = model.owners.without(gone_digests, own)
        for place in inherited:
            owners = owners.joined_by(digests_of(heirs[place]), place)
        model = _owned_by(model, owners)
    if not len(own):
        return _with_other_owners(model, others) if inherited else None
    if isinstance(model, DBSCANModel):
        return _drop_cores(model, own, others, rng)
    return _move_centers(model, own, others, rng)


def held_rows(model: ClusterModel, gone: FloatArray, digests: Digests) -> list[int]:
    """The core samples or centres that are one of the rows or of one of the owners, rising."""
    found = set() if model.owners is None else set(model.owners.places_of(digests).tolist())
    places = _places(model)
    if len(places) and len(gone):
        reach = SAME_PLACE * max(1.0, float(np.abs(gone).max()))
        found.update(*cKDTree(places).query_ball_point(gone, reach))
    return sorted(found)


def _places(model: ClusterModel) -> FloatArray:
    return model.core_samples if isinstance(model, DBSCANModel) else model.centers


def _owned_by(model: ClusterModel, owners: Owners) -> ClusterModel:
    """The same clusters with other owners."""
    if isinstance(model, DBSCANModel):
        return DBSCANModel(model.core_samples, model.core_labels, model.eps, owners)
    return KMeansModel(model.centers, owners)


def _with_other_owners(model: ClusterModel, others: FloatArray) -> Forgotten:
    """All clusters as they were: only owners went, or others came in their place."""
    nobody = np.empty(0, dtype=np.intp)
    same = model.predict(others[:0])
    return _compared(same, same, model, nobody, n_removed=0, n_stand_ins=0)


# DBSCAN.


def _drop_cores(
    model: DBSCANModel, own: NDArray[np.intp], others: FloatArray, rng: np.random.Generator
) -> Forgotten:
    cores = _Cores(
        np.delete(model.core_samples, own, axis=0), np.delete(model.core_labels, own), model.eps
    )
    checked = _may_depend(model, own, cores.places, others, rng)
    X = np.ascontiguousarray(others[checked])
    prediction = model.predict(X)
    before = prediction.labels
    after = cores.nearest(X)[0]
    n_kept = len(cores.places)
    for row in np.flatnonzero((after != before) & (before != NOISE)).tolist():
        label, distance = cores.nearest(X[row : row + 1])
        if label[0] != before[row]:  # else a stand-in for somebody else serves it too
            reach = min(model.eps, float(distance[0]))
            cores.add(_stand_in(X[row], reach, int(before[row]), model, cores, others, rng))
    for label in np.setdiff1d(model.core_labels, cores.labels).tolist():
        # The cluster was this core sample alone, and nobody who stays is in it.
        place = model.core_samples[own[model.core_labels[own] == label][0]]
        cores.add((_around(place, model.eps, rng, n=1), label))
    owners = model.owners.renumbered(own) if model.owners is not None else None
    without = DBSCANModel(cores.places, cores.labels, model.eps, owners)
    return _compared(
        prediction,
        without.predict(X),
        without,
        checked,
        n_removed=len(own),
        n_stand_ins=len(cores.places) - n_kept,
    )


@dataclass
class _Cores:
    """Core samples on the way to a model, whose clusters may still have gaps."""

    places: FloatArray
    labels: NDArray[np.int64]
    eps: float

    def nearest(self, X: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
        """Label and distance of the nearest core sample; NOISE beyond eps."""
        distances, nearest = cKDTree(self.places).query(X)
        labels = np.append(self.labels, np.int64(NOISE))[nearest]
        labels[distances > widened(self.eps)] = NOISE
        return labels, distances

    def add(self, stand_in: tuple[FloatArray, int] | None) -> None:
        if stand_in is not None:
            place, label = stand_in
            self.places = np.vstack([self.places, place])
            self.labels = np.append(self.labels, np.int64(label))


def _may_depend(
    model: DBSCANModel,
    own: NDArray[np.intp],
    kept: FloatArray,
    others: FloatArray,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Others who may be nearest to what goes: all of them, or who is not nearer to landmarks."""
    if len(others) * len(kept) <= MAX_COMPARED:
        return np.arange(len(others))
    landmarks = kept[rng.integers(len(kept), size=min(N_LANDMARKS, len(kept)))]
    to_gone = _least_squares(others, model.core_samples[own])
    return np.flatnonzero(to_gone <= _least_squares(others, landmarks) * (1.0 + SAME_PLACE))


def _least_squares(X: FloatArray, places: FloatArray) -> FloatArray:
    """The squared distance of each row to the nearest of a few places."""
    least = np.full(len(X), np.inf)
    for place in places:
        np.minimum(least, ((X - place) ** 2).sum(axis=1), out=least)
    return least


def _stand_in(
    row: FloatArray,
    reach: float,
    label: int,
    model: DBSCANModel,
    cores: _Cores,
    others: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, int] | None:
    """A place that puts the row into its cluster and leaves everybody else in theirs, if found."""
    radius = widened(model.eps)
    around = others[((others - row) ** 2).sum(axis=1) <= (2.0 * radius) ** 2]
    around = np.ascontiguousarray(around)
    is_free = (around == row).all(axis=1) | (model.predict(around).labels == label)
    rivals = around[~is_free]
    nearest = np.minimum(cores.nearest(rivals)[1], radius) if len(rivals) else np.empty(0)
    for step in STEPS:
        tried = _around(row, step * reach, rng, n=N_DIRECTIONS)
        far = [bool((np.linalg.norm(rivals - place, axis=1) > nearest).all()) for place in tried]
        if any(far):
            return tried[far.index(True)], label
    return None


def _around(place: FloatArray, distance: float, rng: np.random.Generator, *, n: int) -> FloatArray:
    """Random places at a distance, float64 (n, n_columns)."""
    directions = rng.standard_normal((n, len(place)))
    return place + distance * directions / np.linalg.norm(directions, axis=1, keepdims=True)


# K-means.


def _move_centers(
    model: KMeansModel, own: NDArray[np.intp], others: FloatArray, rng: np.random.Generator
) -> Forgotten:
    before = model.predict(others)
    centers = model.centers.copy()
    for row in own.tolist():
        place = centers[row].copy()
        gaps = np.linalg.norm(np.delete(centers, row, axis=0) - place, axis=1)
        apart = float(gaps.min()) if len(gaps) else 2.0
        for step in (each for each in STEPS for _ in range(N_DIRECTIONS)):
            centers[row] = _around(place, step * apart / 2.0, rng, n=1)[0]
            after = KMeansModel(centers).predict(others)
            if np.array_equal(after.labels, before.labels):
                break
    return _compared(
        before,
        after,
        KMeansModel(centers, model.owners),
        np.arange(len(others)),
        n_removed=len(own),
        n_stand_ins=len(own),
    )


def _compared(
    old: Prediction,
    new: Prediction,
    model: ClusterModel,
    checked: NDArray[np.intp],
    *,
    n_removed: int,
    n_stand_ins: int,
) -> Forgotten:
    differs = (old.labels != new.labels) | (old.distances != new.distances)
    if old.core is not None and new.core is not None:
        differs |= old.core != new.core
    return Forgotten(
        model=model,
        n_removed=n_removed,
        n_stand_ins=n_stand_ins,
        n_checked=len(checked),
        rows=checked[differs],
        prediction=new.of_rows(np.flatnonzero(differs)),
        n_moved=int((old.labels != new.labels).sum()),
    )
