"""The training table is compact, and worth what a plain table of the same records is worth."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ml.clusterers import NOISE
from ml.encoder import FeatureEncoder
from ml.features import NoUsableFeatures
from ml.schema_learning import learn_schema
from segments import frames
from segments.customer_digests import customer_digest, owner_digests
from segments.customers import upsert_customers
from segments.frames import UNASSIGNED, reference_table
from segments.models import Assignment
from segments.tables import open_table
from tests.factories import make_customers, make_version

pytestmark = pytest.mark.django_db

AS_OF = date(2026, 1, 1)
SECRET = "of-a-test"
Record = dict[str, Any]


@pytest.fixture(autouse=True)
def _several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "CHUNK", 16)


def store(records: list[Record]) -> None:
    upsert_customers({f"{place:06d}": row for place, row in enumerate(records)}, at=timezone.now())


def hostile_records(*, n_records: int = 200) -> list[Record]:
    """Every kind of attribute, with gaps, and columns whose kind changes on the way."""
    rng = np.random.default_rng(5)
    records: list[Record] = []
    for n in range(n_records):
        joined = AS_OF - timedelta(days=int(rng.integers(0, 900)))
        record: Record = {
            "whole": int(rng.integers(18, 90)),
            "beyond_2_53": 2**53 + 2 * int(rng.integers(0, 99)) + 1,
            "spend": float(rng.lognormal(3, 1.3)),
            "gaps": None if n % 3 == 0 else float(rng.normal()),
            "whole_then_fraction": n if n < 100 else n + float(rng.random()),
            "newsletter": bool(rng.random() < 0.4),
            "asked": None if n % 5 == 0 else bool(rng.random() < 0.4),
            "channel": str(rng.choice(["web", "shop", "app"])),
            "region": None if n % 7 == 0 else str(rng.choice(["N", "S", "nan", "None"])),
            "joined_on": joined.isoformat(),
            "born_on": joined.strftime("%d.%m.%Y") if n % 4 else None,
            "note": f"said {n}",
            "mixed_in_a_row": "x" if n % 2 else n,
            "mixed_in_time": True if n < 50 else float(n) if n < 150 else "late",
            "text_then_truth": "yes" if n < 100 else True,
            "enormous": 10**400 if n == 33 else n,
            "never": None,
        }
        if n >= 150:
            record["late"] = float(rng.normal())
        if n < 20:
            record["early"] = str(rng.choice(["a", "b"]))
        if n == 60:
            record["once"] = 1
        records.append(record)
    return records


def assert_worth_the_same(table: pd.DataFrame, plain: pd.DataFrame, **options: Any) -> None:
    assert list(table.columns) == list(plain.columns)
    schema, expected = (learn_schema(frame, as_of=AS_OF, **options) for frame in (table, plain))
    assert schema == expected
    encoder = FeatureEncoder(schema)
    raw, expected_raw = encoder.raw_from_frame(table), encoder.raw_from_frame(plain)
    for name, values in raw.items():
        assert values.tobytes() == expected_raw[name].tobytes(), name
    assert encoder.encode(raw).tobytes() == encoder.encode(expected_raw).tobytes()


def test_every_kind_of_attribute_is_learned_and_encoded_as_from_a_plain_table() -> None:
    records = hostile_records()
    store(records)

    table = reference_table(None, secret=SECRET).frame

    assert_worth_the_same(table, pd.DataFrame.from_records(records))


@pytest.mark.parametrize("name", ["mixed_in_a_row", "mixed_in_time", "text_then_truth", "never"])
def test_what_is_no_feature_is_refused_for_the_same_reason(name: str) -> None:
    records = hostile_records()
    store(records)
    reasons = []

    for frame in (reference_table(None, secret=SECRET).frame, pd.DataFrame.from_records(records)):
        with pytest.raises(NoUsableFeatures) as caught:
            learn_schema(frame, as_of=AS_OF, features=[name])
        reasons.append(caught.value.omitted)

    assert reasons[0] == reasons[1]


def test_a_column_that_mixes_kinds_keeps_its_values() -> None:
    records = hostile_records()
    store(records)

    column = reference_table(None, secret=SECRET).frame["mixed_in_time"]

    assert column.tolist() == [record["mixed_in_time"] for record in records]


@pytest.mark.parametrize("name", ["mall_customers", "marketing_campaign", "online_shoppers"])
def test_real_tables_are_learned_and_encoded_as_from_a_plain_table(
    name: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "CHUNK", 1_000)
    batches = open_table(shared_data / f"{name}.csv").batches()
    records = [attributes for batch in batches for _, attributes in batch]
    store(records)

    table = reference_table(None, secret=SECRET).frame

    assert_worth_the_same(table, pd.DataFrame.from_records(records))


def test_a_customer_costs_some_bytes_a_value_and_no_objects() -> None:
    store([{"x": n / 7, "yes": n % 2 == 0, "level": f"level {n % 3}"} for n in range(500)])

    table = reference_table(None, secret=SECRET).frame

    assert table["x"].dtype == np.float64
    assert table["yes"].dtype == np.bool_
    assert table["level"].cat.codes.dtype == np.int8
    assert table.memory_usage(index=False, deep=True).sum() < 12 * 500


def test_one_query_reads_everybody_however_many_there_are() -> None:
    store([{"x": n} for n in range(100)])

    with CaptureQueriesContext(connection) as captured:
        table = reference_table(None, secret=SECRET)

    assert len(captured) == 1
    assert len(table.frame) == len(table.segments) == len(table.digests) == 100


def test_nobody_makes_an_empty_table() -> None:
    table = reference_table(None, secret=SECRET)

    assert table.frame.shape == (0, 0)
    assert table.segments.dtype == np.int64
    assert table.digests.dtype == np.uint64
    assert len(table.segments) == len(table.digests) == 0


def test_the_segments_of_a_version_stand_beside_its_customers() -> None:
    keys = sorted(record["customer_id"] for record in make_customers(n_customers=60))
    version, other = make_version(parameters={"k": 2}), make_version(parameters={"k": 3})
    Assignment.objects.get(version=version, customer=keys[3]).delete()
    Assignment.objects.filter(version=version, customer=keys[4]).update(segment=None)

    table = reference_table(version.pk, secret=SECRET)

    own = {a.customer_id: a.segment_id for a in Assignment.objects.filter(version=version)}
    expected = [own.get(key, UNASSIGNED) for key in keys]
    expected[4] = NOISE
    assert table.segments.tolist() == expected
    assert expected[3] == UNASSIGNED
    assert reference_table(other.pk, secret=SECRET).segments.tolist() != expected
    assert set(reference_table(None, secret=SECRET).segments.tolist()) == {UNASSIGNED}


def test_each_row_has_the_digest_of_its_customer() -> None:
    keys = sorted(record["customer_id"] for record in make_customers(n_customers=60))

    digests = reference_table(None, secret=SECRET).digests

    assert digests.tolist() == owner_digests(keys, secret=SECRET).tolist()
    assert len(set(digests.tolist())) == 60
    assert not set(digests.tolist()) & set(owner_digests(keys, secret="another").tolist())
    in_the_trail = customer_digest(keys[0], secret=SECRET)
    assert digests[:1].tobytes().hex() not in in_the_trail
