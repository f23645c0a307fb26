"""What a new version takes over from the one that serves while it is trained: where its k-means
starts from, and which of its clusters continue a segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.cluster_profiles import ClusterDescription
from ml.clusterers import FloatArray, IntArray
from ml.encoder import FeatureEncoder
from ml.features import Kind
from ml.identity import IdentityResult, match_on_centres, match_on_customers, mean_centres

Medians: TypeAlias = Mapping[str, Any]

MIN_SHARED_SHARE = 0.05
"""Of the reference customers: fewer that both versions know cannot say what becomes of all; a
judgement."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The version that serves, seen from the customers that another one is trained on.

    Attributes
    ----------
    number : int
    rows : intp array (m,)
        Reference rows of the customers that it knows.
    segments : int64 array (m,)
        Their segment under it, ``NOISE`` for none.
    medians : mapping of segment id to typical value by feature
        Of each of its segments, also of those without a customer among the rows.
    """

    number: int
    rows: NDArray[np.intp]
    segments: IntArray
    medians: Mapping[int, Medians]

    def centres(self, X: FloatArray) -> FloatArray | None:
        """Its centres in the space of the encoded reference rows; None if it knows nobody."""
        ids, centres = mean_centres(X[self.rows], self.segments)
        return centres if len(ids) else None

    def matched(
        self,
        labels: IntArray,
        clusters: Sequence[ClusterDescription],
        encoder: FeatureEncoder,
    ) -> IdentityResult:
        """Match clusters to its segments on shared customers, or on medians if too few are shared.

        Without a feature in common there is nothing to compare either: every cluster is new.
        """
        are_enough = len(self.rows) >= MIN_SHARED_SHARE * len(labels)
        on_customers = match_on_customers(
            self.segments if are_enough else self.segments[:0],
            labels[self.rows] if are_enough else labels[:0],
            segment_ids=self.medians,
            n_clusters=len(clusters),
        )
        features = {feature.name for feature in encoder.schema.features}
        if on_customers.basis == "customers" or not any(map(features.intersection, self.known())):
            return on_customers
        return match_on_centres(
            list(self.medians),
            _encoded(encoder, list(self.medians.values())),
            _encoded(encoder, [cluster.medians for cluster in clusters]),
        )

    def known(self) -> Iterator[set[str]]:
        """The features of each segment that have a typical value."""
        for own in self.medians.values():
            yield {name for name, value in own.items() if value is not None}


def _encoded(encoder: FeatureEncoder, medians: Sequence[Medians]) -> FloatArray:
    """Typical customers as the new version sees them; what they lack is filled."""
    booleans = {f.name for f in encoder.schema.features if f.kind is Kind.BOOLEAN}
    records = [
        {
            name: value >= 0.5 if name in booleans and isinstance(value, float) else value
            for name, value in own.items()
        }
        for own in medians
    ]
    return encoder.encode_records(records, strict=False)
