"""Two versions on the same customers: the matrix is what counting by hand gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.utils import timezone
from sklearn.metrics import adjusted_rand_score

from modelregistry.models import ModelVersion, Stage
from segments.comparison import (
    NOISE_NAME,
    RETIRED,
    Comparison,
    NotComparable,
    compare,
    notes_of,
)
from segments.customers import upsert_customers
from segments.models import Assignment, Customer, Fate, VersionSegment
from tests.factories import TrainedModels, make_customers, make_version

CANDIDATES: dict[str, dict[str, Any]] = {
    "kmeans": {"n_clusters": 6},
    "dbscan": {"eps": 1.6, "min_samples": 8},
}


def assigned(version: ModelVersion) -> dict[str, int]:
    """Each customer's segment, 0 for noise."""
    rows = Assignment.objects.filter(version=version).values_list("customer_id", "segment_id")
    return {customer: segment or 0 for customer, segment in rows}


def counted(comparison: Comparison) -> dict[tuple[int, int], int]:
    return {
        (row or 0, column or 0): int(comparison.counts[i, j])
        for i, row in enumerate(comparison.rows)
        for j, column in enumerate(comparison.columns)
        if comparison.counts[i, j]
    }


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_the_matrix_is_a_crosstab_of_the_assignments(
    trained: TrainedModels, model_type: str
) -> None:
    before: ModelVersion = getattr(trained, model_type)
    after = make_version(model_type=model_type, parameters=CANDIDATES[model_type])
    table = pd.DataFrame({"before": assigned(before), "after": assigned(after)})

    comparison = compare(after, before)

    crosstab = table.value_counts().to_dict()
    assert counted(comparison) == crosstab
    assert comparison.n_compared == len(trained.records)
    assert comparison.n_moved == int((table.before != table.after).sum()) > 0
    assert comparison.moved_share == comparison.n_moved / len(trained.records)
    assert comparison.adjusted_rand_index == pytest.approx(
        adjusted_rand_score(table.before, table.after)
    )
    assert (comparison.n_before_only, comparison.n_after_only) == (0, 0)


def test_noise_is_a_row_and_a_column_of_its_own(trained: TrainedModels) -> None:
    after = make_version(model_type="dbscan", parameters=CANDIDATES["dbscan"])

    comparison = compare(after, trained.dbscan)

    noise = comparison.segments[-1]
    assert comparison.rows[-1] is None and comparison.columns[-1] is None
    assert (noise.segment, noise.name, noise.fate) == (None, NOISE_NAME, None)
    assert noise.n_before == list(assigned(trained.dbscan).values()).count(0)
    assert noise.n_after == list(assigned(after).values()).count(0)


def test_winners_and_losers_balance(trained: TrainedModels) -> None:
    comparison = compare(make_version(parameters={"n_clusters": 7}), trained.kmeans)

    assert sum(change.n_before for change in comparison.segments) == comparison.n_compared
    assert sum(change.n_after for change in comparison.segments) == comparison.n_compared
    assert sum(change.share_change for change in comparison.segments) == pytest.approx(0)
    for change in comparison.segments:
        assert change.share_change == pytest.approx(
            (change.n_after - change.n_before) / comparison.n_compared
        )


def test_fates_are_those_of_the_training(trained: TrainedModels) -> None:
    after = make_version(parameters={"n_clusters": 8})
    stored = {row.segment_id: row for row in VersionSegment.objects.filter(version=after)}

    changes = {change.segment: change for change in compare(after, trained.kmeans).segments}

    for segment, row in stored.items():
        assert changes[segment].fate == row.fate
        assert changes[segment].match_score == row.match_score
        assert changes[segment].related_segments == tuple(row.related_segments)
    retired = {segment for segment, change in changes.items() if change.fate == RETIRED}
    assert after.identity is not None
    assert retired == set(after.identity["retired"])
    assert all(changes[segment].n_after == 0 for segment in retired)


def test_versions_that_were_not_matched_are_compared_by_their_lasting_ids(
    trained: TrainedModels,
) -> None:
    one = make_version(parameters={"n_clusters": 6})
    two = make_version(parameters={"n_clusters": 8})
    ids = [set(version.segments.values_list("segment_id", flat=True)) for version in (one, two)]

    comparison = compare(two, one)

    fates = {change.segment: change.fate for change in comparison.segments}
    assert {segment for segment, fate in fates.items() if fate == Fate.KEPT} == ids[0] & ids[1]
    assert {segment for segment, fate in fates.items() if fate == RETIRED} == ids[0] - ids[1]
    assert {segment for segment, fate in fates.items() if fate == Fate.NEW} == ids[1] - ids[0]
    assert all(change.match_score is None for change in comparison.segments)


def test_a_version_agrees_with_itself(trained: TrainedModels) -> None:
    comparison = compare(trained.dbscan, trained.dbscan)

    assert comparison.n_moved == 0
    assert comparison.adjusted_rand_index == 1.0
    assert np.count_nonzero(comparison.counts) == np.count_nonzero(np.diag(comparison.counts))


def test_customers_that_one_of_them_does_not_know_as_they_are_are_left_out(
    trained: TrainedModels,
) -> None:
    after = make_version()
    gone, changed = [record["customer_id"] for record in trained.records[:2]]
    Assignment.objects.filter(version=after, customer_id=gone).delete()
    Assignment.objects.filter(version=after, customer_id=changed).update(customer_revision=77)

    comparison = compare(after, trained.kmeans)

    assert comparison.n_compared == len(trained.records) - 2
    assert (comparison.n_before_only, comparison.n_after_only) == (2, 1)
    assert comparison.n_changed == 1
    assert notes_of(comparison, is_proposed=True) == [
        "Customers not compared: 1 changed since one of the two versions was assigned, 1 assigned "
        "to one of the two alone. Activating a version first assigns everybody who has the values "
        "it needs."
    ]


def test_an_import_of_the_same_file_leaves_everybody_comparable(trained: TrainedModels) -> None:
    after = make_version()
    make_customers()

    comparison = compare(after, trained.kmeans)

    assert comparison.n_compared == len(trained.records)
    assert notes_of(comparison, is_proposed=True) == []


def test_it_is_said_when_everybody_changed(trained: TrainedModels) -> None:
    after = make_version()
    Assignment.objects.filter(version=after).update(customer_revision=77)

    comparison = compare(after, trained.kmeans)

    assert (comparison.n_compared, comparison.n_changed) == (0, len(trained.records))
    (note,) = notes_of(comparison, is_proposed=False)
    assert note.startswith("Customers not compared: 300 changed since one of the two")


def test_a_version_says_when_it_continues_other_segments_than_those_that_serve(
    trained: TrainedModels,
) -> None:
    second = make_version()
    third = make_version(parameters={"n_clusters": 6}, active=True)

    comparison = compare(second, third)

    assert notes_of(comparison, is_proposed=True) == [
        "kmeans 2 was trained while kmeans 1 served: it continues that version's segments, not "
        "those of kmeans 3; train again to continue these."
    ]
    assert notes_of(comparison, is_proposed=False) == []
    assert notes_of(compare(second, trained.kmeans), is_proposed=True) == []


def test_a_version_says_when_it_continues_no_segments(db: None) -> None:
    make_customers()
    first, second = make_version(), make_version(active=True)

    assert notes_of(compare(first, second), is_proposed=True) == [
        "kmeans 1 continues no segment of kmeans 2; train again to continue these."
    ]


def test_nobody_in_common_is_said_and_not_made_up(trained: TrainedModels) -> None:
    Customer.objects.all().delete()
    after = trained.kmeans
    upsert_customers({"X-1": {"orders": 1}}, at=timezone.now())

    comparison = compare(after, trained.kmeans)

    assert comparison.n_compared == 0
    assert comparison.moved_share is None
    assert comparison.adjusted_rand_index is None
    assert {change.share_after for change in comparison.segments} == {0.0}


def test_versions_of_two_types_are_not_compared(trained: TrainedModels) -> None:
    with pytest.raises(NotComparable, match="two model types"):
        compare(trained.dbscan, trained.kmeans)


def test_a_version_that_is_not_trained_is_not_compared(trained: TrainedModels) -> None:
    half = make_version()
    ModelVersion.objects.filter(pk=half.pk).update(stage=Stage.TRAINING)
    half.refresh_from_db()

    with pytest.raises(NotComparable, match="not trained"):
        compare(half, trained.kmeans)


def test_the_number_of_queries_does_not_depend_on_the_segments(
    trained: TrainedModels, django_assert_num_queries: Any
) -> None:
    few = make_version(parameters={"n_clusters": 2})
    many = make_version(parameters={"n_clusters": 9})

    for after in (few, many):
        with django_assert_num_queries(5):
            compare(after, trained.kmeans)


def test_rows_from_before_segments_were_described_are_compared(trained: TrainedModels) -> None:
    old = make_version(parameters={"n_clusters": 5})
    VersionSegment.objects.filter(version=old).update(
        match_score=None, related_segments=[], fate=Fate.NEW
    )
    ModelVersion.objects.filter(pk=old.pk).update(identity=None, selection=None)
    old.refresh_from_db()

    comparison = compare(old, trained.kmeans)

    assert comparison.n_compared == len(trained.records)
    assert {change.fate for change in comparison.segments} <= {Fate.KEPT, Fate.NEW, RETIRED}
    assert notes_of(comparison, is_proposed=True) == []
