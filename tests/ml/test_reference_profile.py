"""The reference profile: what it counts, how it is stored, and what it refuses."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from ml.encoder import FeatureEncoder
from ml.features import FeatureSchema, RawColumns
from ml.reference_profile import LevelColumn, OrderedColumn, ReferenceProfile
from ml.schema_learning import learn_schema
from ml.scored import Scored


@pytest.fixture
def trained() -> tuple[FeatureSchema, RawColumns, Scored]:
    rng = np.random.default_rng(8)
    n = 400
    frame = pd.DataFrame(
        {
            "spend_eur": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(3, 1, n)),
            "newsletter": rng.random(n) < 0.4,
            "channel": rng.choice(["web", "store", "app"], n, p=[0.5, 0.3, 0.2]),
        }
    )
    schema = learn_schema(frame, as_of=date(2026, 1, 1))
    scored = Scored(rng.integers(-1, 3, n), rng.exponential(size=n))
    return schema, FeatureEncoder(schema).raw_from_frame(frame), scored


@pytest.fixture
def stored(trained: tuple[FeatureSchema, RawColumns, Scored]) -> dict:
    return json.loads(json.dumps(ReferenceProfile.fit(*trained).to_dict(), allow_nan=False))


def test_fit_counts_every_customer_once_in_each_column(trained) -> None:
    schema, raw, scored = trained

    profile = ReferenceProfile.fit(schema, raw, scored)

    assert profile.n_reference == 400
    assert [column.n_customers for column in profile.columns] == [400, 400, 400]
    assert profile.clusters == (-1, 0, 1, 2)
    assert profile.cluster_counts == tuple(np.bincount(scored.labels + 1).tolist())


def test_fit_keeps_the_centre_and_spread_of_the_values_that_are_there(trained) -> None:
    schema, raw, scored = trained

    profile = ReferenceProfile.fit(schema, raw, scored)

    column = next(c for c in profile.columns if c.name == "spend_eur")
    assert isinstance(column, OrderedColumn)
    assert column.n_missing == np.isnan(raw["spend_eur"]).sum()
    assert column.median == np.nanmedian(raw["spend_eur"])
    assert column.sd == pytest.approx(np.nanstd(raw["spend_eur"]))


def test_a_stored_profile_comes_back_exactly(trained) -> None:
    profile = ReferenceProfile.fit(*trained)

    stored = json.loads(json.dumps(profile.to_dict(), allow_nan=False))

    assert ReferenceProfile.from_dict(stored) == profile


def test_the_order_of_the_customers_does_not_matter(trained) -> None:
    schema, raw, scored = trained
    order = np.random.default_rng(2).permutation(400)
    assert scored.distances is not None

    shuffled = ReferenceProfile.fit(
        schema,
        {name: values[order] for name, values in raw.items()},
        Scored(scored.labels[order], scored.distances[order]),
    )

    plain = ReferenceProfile.fit(schema, raw, scored)
    assert replace(shuffled, pairs=None) == replace(plain, pairs=None)
    assert shuffled.pairs is not None and plain.pairs is not None
    assert [each.value for each in shuffled.pairs.correlations] == pytest.approx(
        [each.value for each in plain.pairs.correlations], abs=1e-12
    )


def test_levels_seen_once_are_what_an_unchanged_population_brings_anew() -> None:
    column = LevelColumn("city", 2, 3, ("Bonn", "Ulm", "Jena"), (7, 1, 1))

    assert column.n_unseen_expected == 5
    assert column.n_customers == 14


def test_fit_refuses_columns_that_are_absent_of_another_length_or_infinite(trained) -> None:
    schema, raw, scored = trained
    short = raw | {"channel": raw["channel"][1:]}
    infinite = raw | {"spend_eur": np.full(400, np.inf)}
    beyond = raw | {"channel": np.full(400, 3.0)}

    with pytest.raises(ValueError, match="'channel' is not among"):
        ReferenceProfile.fit(schema, {k: v for k, v in raw.items() if k != "channel"}, scored)
    with pytest.raises(ValueError, match="'channel' has shape"):
        ReferenceProfile.fit(schema, short, scored)
    with pytest.raises(ValueError, match="'spend_eur' holds an infinite"):
        ReferenceProfile.fit(schema, infinite, scored)
    with pytest.raises(ValueError, match="'channel' holds a code outside"):
        ReferenceProfile.fit(schema, beyond, scored)


def break_at(stored: dict, path: list, value: object) -> dict:
    target = stored
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return stored


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], 3, "format must be one of"),
        (["n_reference"], True, "profile.n_reference must be an integer"),
        (["n_reference"], 401, "do not sum to n_reference"),
        (["columns"], {}, "profile.columns must be a list"),
        (["columns", 0], 3, r"columns\[0\] must be an object"),
        (["columns", 0, "kind"], "number!", "is no ordered kind"),
        (["columns", 0, "median"], "1", r"columns\[0\].median must be a number"),
        (["columns", 0, "median"], float("nan"), "must be finite"),
        (["columns", 0, "sd"], -1.0, "sd must be >= 0"),
        (["columns", 0, "cells"], None, r"columns\[0\].cells must be an object"),
        (["columns", 0, "cells", "cuts", 0], 1e15, "cuts must rise"),
        (["columns", 0, "cells", "counts", 0], 1.5, "counts must be an integer"),
        (["columns", 0, "n_missing"], -1, "n_missing must not be negative"),
        (["columns", 2, "levels", 0], 5, r"columns\[2\].levels must be text"),
        (["columns", 2, "counts"], [400], "one count a level"),
        (["columns", 2, "levels", 0], "app", "listed twice"),
        (["columns", 2, "name"], "spend_eur", "a column is listed twice"),
        (["clusters"], [0, -1, 1, 2], "clusters must rise"),
        (["cluster_counts"], [400], "one count a cluster"),
        (["cluster_counts", 0], 1_000, "do not sum to the customers scored"),
        (["columns", 0, "means"], [1.0], "one mean a cell"),
        (["columns", 0, "upper_tail"], 3, "upper_tail must be an object"),
        (["columns", 0, "lower_tail"], {"bound": 1.0}, "lower_tail.mean must be a number"),
        (["pairs", "names", 0], "age", "names no column"),
        (["pairs", "values", 0], 1.5, "out of bounds"),
        (["pairs", "values"], [], "differ in length"),
        (["pairs", "variances", 0], -1.0, "out of bounds"),
        (["distances"], 1, "distances must be an object"),
        (["distances", "far"], float("inf"), "must be finite"),
        (["distances", "n_far"], 401, "n_far must lie between"),
        (["inside", 0, "name"], "age", "names no column"),
        (["inside", 0, "counts"], [[1, 2]], "cell more than cuts|one row a cluster"),
        (["inside", 0, "cuts", 0], 1e15, "cuts must rise"),
    ],
)
def test_a_damaged_profile_is_refused_by_name(
    stored: dict, path: list, value: object, message: str
) -> None:
    stored["columns"].sort(key=lambda c: ["spend_eur", "newsletter", "channel"].index(c["name"]))
    # The first level must differ from "app" for the duplicate to be one.
    names = stored["columns"][2]["levels"]
    assert names[0] == "web"

    with pytest.raises(ValueError, match=message):
        ReferenceProfile.from_dict(break_at(stored, path, value))


def test_anything_but_an_object_is_refused() -> None:
    with pytest.raises(ValueError, match="profile must be an object"):
        ReferenceProfile.from_dict([1])
