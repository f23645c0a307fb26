"""Values that were given but are not of their column's type: drift reads them as missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml.features import FeatureSchema, RawColumns


def unreadable_values(
    schema: FeatureSchema, records: Sequence[Mapping[str, Any]], raw: RawColumns
) -> dict[str, int]:
    """Count them by feature, those without any left out.

    Parameters
    ----------
    schema : features that were read
    records : one a customer
    raw : what was read of them, float64 (n,) a feature, NaN = missing

    Notes
    -----
    Only records that read as missing are looked at.
    """
    counts = {
        feature.name: sum(
            records[row].get(feature.name) is not None
            for row in np.flatnonzero(np.isnan(raw[feature.name])).tolist()
        )
        for feature in schema.features
    }
    return {name: count for name, count in counts.items() if count}
