"""Values that were given but are not of their column's type.

Drift reads them as missing; who stores customers for later is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from ml.encoder import attribute_values, problem_of
from ml.features import FeatureSchema, Kind, RawColumns
from ml.raw_columns import raw_column
from ml.records import InvalidRecords, RecordProblem, RecordTable, Scalar


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


def refuse_unreadable(
    records: Sequence[Mapping[str, Scalar]],
    schemas: Iterable[FeatureSchema],
    *,
    table: RecordTable,
) -> None:
    """Raise InvalidRecords for values that one of the schemas cannot read.

    Parameters
    ----------
    records : one a customer; nulls, what is left out and what no feature names are no problem
    schemas : of the versions that serve
    table : what `check_table` found in the same records
    """
    problems: dict[tuple[int, str], RecordProblem] = {}
    for schema in schemas:
        for feature in schema.features:
            if feature.kind is Kind.NUMBER and feature.name in table.numbers:
                continue
            values = attribute_values(records, table, feature.name)
            column = raw_column(feature, values, schema.as_of)
            for row in np.flatnonzero(np.isnan(column)).tolist():
                if values[row] is not None:
                    problem = problem_of(feature, values, row)
                    problems.setdefault((row, feature.name), problem)
    if problems:
        raise InvalidRecords.gather(sorted(problems.values(), key=attrgetter("index")))
