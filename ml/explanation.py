"""Why a customer is in its segment: what each feature adds to the gap to the second-nearest one.

Words: the *runner-up* is the nearest other cluster, the *gap* the squared distance to it less the
squared distance to the own one, in encoded space. Serving needs numpy and scipy's KD-tree only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from ml.clusterers import (
    NOISE,
    ClusterModel,
    DBSCANModel,
    FloatArray,
    IntArray,
    KMeansModel,
    check_encoded,
)
from ml.features import FeatureSchema

DEFAULT_N_TOP = 3  # features named for one customer
# Rows explained at once: bounds the memory beside the answer for any number of rows.
CHUNK_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class Explanations:
    """Why each of some rows is in its cluster.

    Attributes
    ----------
    features : tuple of str
        Names of the columns of `contributions`.
    labels : int64 array (n,)
        As the model predicts them; ``NOISE`` for none.
    runners_up : int64 array (n,)
        The nearest other cluster, ``NOISE`` when there is no other; for noise the nearest cluster.
    confidence : float64 array (n,) in 0-1
        1 - d1 / d2, with the distances to the own and to the other cluster: 0 on the border, 1 on
        the own centre, or without another cluster. For noise d1 is eps and d2 the distance to the
        nearest core sample: 0 at its edge.
    contributions : float64 array (n, n_features)
        Each feature's part of the gap, in squared standard deviations of the encoded space: above
        0 where it speaks for the own cluster. All 0 without another cluster.
    gaps : float64 array (n,)
        d2² - d1²; the sum of the contributions.
    """

    features: tuple[str, ...]
    labels: IntArray
    runners_up: IntArray
    confidence: FloatArray
    contributions: FloatArray
    gaps: FloatArray

    def __len__(self) -> int:
        return len(self.labels)

    def to_dict(self, row: int, *, n_top: int = DEFAULT_N_TOP) -> dict[str, Any]:
        """Say in plain JSON values why one row is where it is; see `to_dicts`."""
        (answer,) = self._answers(slice(row, row + 1), n_top)
        return answer

    def to_dicts(self, *, n_top: int = DEFAULT_N_TOP) -> list[dict[str, Any]]:
        """Say in plain JSON values why each row is where it is.

        Returns
        -------
        list of dict
            `runner_up` (None without another cluster), `confidence`, and `contributions`: the
            `n_top` largest in size with `feature`, `contribution`, and `share`, the contribution
            over the sum of all sizes, from -1 to 1.
        """
        return self._answers(slice(None), n_top)

    def _answers(self, rows: slice, n_top: int) -> list[dict[str, Any]]:
        values = self.contributions[rows]
        sizes = np.abs(values)
        top = np.argsort(-sizes, axis=1, kind="stable")[:, :n_top]
        totals = sizes.sum(axis=1, keepdims=True)
        shares = np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)
        table = zip(
            self.runners_up[rows].tolist(),
            self.confidence[rows].tolist(),
            top.tolist(),
            np.take_along_axis(values, top, axis=1).tolist(),
            np.take_along_axis(shares, top, axis=1).tolist(),
            strict=True,
        )
        return [
            {
                "runner_up": None if runner_up == NOISE else runner_up,
                "confidence": confidence,
                "contributions": [
                    {"feature": self.features[place], "contribution": value, "share": share}
                    for place, value, share in zip(places, parts, part_shares, strict=True)
                    if value
                ],
            }
            for runner_up, confidence, places, parts, part_shares in table
        ]


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Some rows with the points that decide about them.

    `near` and `far` are the points (n, n_columns) of the own and of the runner-up cluster whose
    squared distances make the gap, `d1` and `d2` the distances that make the confidence; `factor`
    scales the contributions.
    """

    labels: IntArray
    runners_up: IntArray
    near: FloatArray
    far: FloatArray
    d1: FloatArray
    d2: FloatArray
    factor: FloatArray


class Explainer:
    """Explains the rows of one model; keep it as long as the model, for DBSCAN it holds trees.

    Parameters
    ----------
    model : ClusterModel
    schema : FeatureSchema
        Whose encoded columns the model reads.

    Raises
    ------
    ValueError
        If the two differ in their number of columns.
    """

    def __init__(self, model: ClusterModel, schema: FeatureSchema) -> None:
        if schema.n_columns != model.n_columns:
            raise ValueError(
                f"the schema has {schema.n_columns} encoded columns, the model {model.n_columns}"
            )
        self._features = tuple(feature.name for feature in schema.features)
        widths = [feature.n_columns for feature in schema.features]
        self._starts = np.cumsum([0, *widths[:-1]])
        self._n_columns = model.n_columns
        self._finder = (
            _CentreFinder(model) if isinstance(model, KMeansModel) else _CoreSampleFinder(model)
        )

    def explain(self, X: FloatArray) -> Explanations:
        """Explain each row; a row gets the same answer alone and in any batch.

        Parameters
        ----------
        X : float64 array (n, n_columns)
            Encoded rows; n may be 0.

        Returns
        -------
        Explanations

        Raises
        ------
        ValueError
            Wrong type, shape or dtype, or values that are not finite.

        Source
        ------
        The gap of two squared Euclidean distances is a sum over columns; those of one feature (the
        levels of a category) are taken together.
        """
        check_encoded(X, "X", n_columns=self._n_columns)
        contributions = np.zeros((len(X), len(self._features)))
        labels = np.empty(len(X), dtype=np.int64)
        runners_up = np.empty(len(X), dtype=np.int64)
        confidence = np.empty(len(X))
        for rows in _chunks(len(X)):
            found = self._finder.find(X[rows])
            parts = np.square(X[rows] - found.far) - np.square(X[rows] - found.near)
            parts *= found.factor[:, None]
            contributions[rows] = np.add.reduceat(parts, self._starts, axis=1)
            labels[rows], runners_up[rows] = found.labels, found.runners_up
            confidence[rows] = _confidence(found)
        return Explanations(
            features=self._features,
            labels=labels,
            runners_up=runners_up,
            confidence=confidence,
            contributions=contributions,
            gaps=contributions.sum(axis=1),
        )

    def confidence(self, X: FloatArray) -> FloatArray:
        """As `Explanations.confidence`, in memory that does not grow with the features."""
        check_encoded(X, "X", n_columns=self._n_columns)
        confidence = np.empty(len(X))
        for rows in _chunks(len(X)):
            confidence[rows] = _confidence(self._finder.find(X[rows]))
        return confidence


def explain(model: ClusterModel, schema: FeatureSchema, X: FloatArray) -> Explanations:
    """Explain rows once; `Explainer` is for who asks again."""
    return Explainer(model, schema).explain(X)


class _CentreFinder:
    """K-means: the two nearest centres."""

    def __init__(self, model: KMeansModel) -> None:
        self._model = model

    def find(self, X: FloatArray) -> _Neighbours:
        centers = self._model.centers
        labels = self._model.predict(X).labels
        if len(centers) == 1:
            return _without_other(X, labels)
        squares = cdist(X, centers, "sqeuclidean")
        rows = np.arange(len(X))
        own = squares[rows, labels]
        squares[rows, labels] = np.inf
        runners_up = squares.argmin(axis=1)
        return _Neighbours(
            labels=labels,
            runners_up=runners_up,
            near=centers[labels],
            far=centers[runners_up],
            d1=np.sqrt(own),
            d2=np.sqrt(squares[rows, runners_up]),
            factor=np.ones(len(X)),
        )


class _CoreSampleFinder:
    """DBSCAN: the nearest core sample of the own cluster, and of any other.

    The nearest core sample with another label is found without a tree for each cluster: two
    labels differ in some bit, so it is the nearest among those that differ from the own label in
    bit 0, in bit 1, and so on. The trees of a bit hold each core sample once.
    """

    def __init__(self, model: DBSCANModel) -> None:
        self._model = model
        self._all = cKDTree(model.core_samples)
        n_bits = (model.n_clusters - 1).bit_length() if model.n_clusters > 1 else 0
        self._halves = [
            tuple(self._half((model.core_labels >> bit & 1) == side) for side in (0, 1))
            for bit in range(n_bits)
        ]

    def _half(self, members: NDArray[np.bool_]) -> tuple[IntArray, cKDTree]:
        places = np.flatnonzero(members)
        return places, cKDTree(self._model.core_samples[places])

    def find(self, X: FloatArray) -> _Neighbours:
        model = self._model
        labels = model.predict(X).labels
        if not model.n_clusters:
            return _without_other(X, labels)
        distances, nearest = self._all.query(X)
        near = model.core_samples[nearest]
        if not self._halves:
            found = _without_other(X, labels)
        else:
            other_distances, others = self._nearest_other(X, labels)
            found = _Neighbours(
                labels=labels,
                runners_up=model.core_labels[others],
                near=near,
                far=model.core_samples[others],
                d1=distances,
                d2=other_distances,
                factor=np.ones(len(X)),
            )
        return self._with_noise(X, found, model.core_labels[nearest], near, distances)

    def _nearest_other(self, X: FloatArray, labels: IntArray) -> tuple[FloatArray, IntArray]:
        """Distance to, and place of, the nearest core sample of another cluster."""
        best = np.full(len(X), np.inf)
        places = np.zeros(len(X), dtype=np.int64)
        for bit, halves in enumerate(self._halves):
            for side, (members, tree) in enumerate(halves):
                rows = np.flatnonzero((labels != NOISE) & ((labels >> bit & 1) != side))
                distances, nearest = tree.query(X[rows])
                nearer = distances < best[rows]
                best[rows[nearer]] = distances[nearer]
                places[rows[nearer]] = members[nearest[nearer]]
        return best, places

    def _with_noise(
        self,
        X: FloatArray,
        found: _Neighbours,
        nearest_labels: IntArray,
        near: FloatArray,
        distances: FloatArray,
    ) -> _Neighbours:
        """Noise is compared with the edge: how far beyond eps the nearest core sample is.

        Its gap d² - eps² is shared out as d² is: each feature's part times 1 - eps² / d².
        """
        noise = found.labels == NOISE
        eps = self._model.eps
        d2 = np.where(noise, distances, found.d2)
        ratio = np.divide(eps, d2, out=np.ones(len(X)), where=noise)
        return _Neighbours(
            labels=found.labels,
            runners_up=np.where(noise, nearest_labels, found.runners_up),
            near=np.where(noise[:, None], X, found.near),
            far=np.where(noise[:, None], near, found.far),
            d1=np.where(noise, eps, found.d1),
            d2=d2,
            factor=np.where(noise, 1.0 - np.square(ratio), found.factor),
        )


def _without_other(X: FloatArray, labels: IntArray) -> _Neighbours:
    n_rows = len(X)
    return _Neighbours(
        labels=labels,
        runners_up=np.full(n_rows, NOISE, dtype=np.int64),
        near=X,
        far=X,
        d1=np.zeros(n_rows),
        d2=np.ones(n_rows),
        factor=np.ones(n_rows),
    )


def _confidence(found: _Neighbours) -> FloatArray:
    """1 - d1 / d2, and 0 where both are 0: two clusters in one place."""
    ratio = np.divide(found.d1, found.d2, out=np.ones(len(found.d1)), where=found.d2 > 0)
    return np.clip(1.0 - ratio, 0.0, 1.0)


def _chunks(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK_ROWS) for start in range(0, n_rows, CHUNK_ROWS))
