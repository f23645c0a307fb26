"""Values of another type are told from values that are not there."""

from datetime import date

import pandas as pd

from ml.encoder import FeatureEncoder
from ml.schema_learning import learn_schema
from ml.unreadable import unreadable_values


def test_values_of_another_type_are_counted_and_missing_ones_are_not() -> None:
    frame = pd.DataFrame({"age": [20, 20, 31, 40, 55] * 8, "channel": ["web", "store"] * 20})
    schema = learn_schema(frame, as_of=date(2026, 1, 1))
    records = [
        {"age": "41", "channel": "web"},
        {"age": None, "channel": "store"},
        {"channel": 3},
        {"age": 41, "channel": "moon"},
    ]
    raw = FeatureEncoder(schema).raw_from_records(records, strict=False)

    assert unreadable_values(schema, records, raw) == {"age": 1, "channel": 1}
    assert unreadable_values(schema, [], FeatureEncoder(schema).raw_from_records([])) == {}
