"""A segment outlives the version it was found in: its id and name stay with its customers."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.utils import timezone

from modelregistry.activation import load
from modelregistry.models import ModelVersion
from segments.customers import upsert_customers
from segments.models import Assignment, Customer, Fate, Segment, VersionSegment
from tests.factories import TrainedModels, make_active, make_records, make_version

MODEL_TYPES = ("kmeans", "dbscan")


def segment_ids(version: ModelVersion) -> set[int]:
    return set(version.segments.values_list("segment_id", flat=True))


def rows_of(version: ModelVersion) -> list[VersionSegment]:
    return list(version.segments.select_related("segment"))


def segment_of(version: ModelVersion) -> dict[str, int | None]:
    return dict(Assignment.objects.filter(version=version).values_list("customer_id", "segment_id"))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_first_version_of_a_type_has_only_new_segments(
    trained: TrainedModels, model_type: str
) -> None:
    version: ModelVersion = getattr(trained, model_type)

    assert version.identity is None
    assert {row.fate for row in rows_of(version)} == {Fate.NEW}
    assert {row.match_score for row in rows_of(version)} == {None}


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_training_on_the_same_customers_again_keeps_every_segment(
    trained: TrainedModels, model_type: str
) -> None:
    before: ModelVersion = getattr(trained, model_type)

    version = make_version(model_type=model_type)

    assert segment_of(version) == segment_of(before)
    assert {row.fate for row in rows_of(version)} == {Fate.KEPT}
    assert version.identity == {
        "compared_with": before.number,
        "basis": "customers",
        "n_shared": sum(row.n_customers for row in rows_of(before)),
        "kept_share": 1.0,
        "retired": [],
        "warm_started": model_type == "kmeans",
    }


def test_a_name_stays_with_its_segment(trained: TrainedModels) -> None:
    renamed = rows_of(trained.kmeans)[0].segment
    Segment.objects.filter(pk=renamed.pk).update(name="Our best customers")

    version = make_version()

    names = {row.segment_id: row.segment.name for row in rows_of(version)}
    assert names[renamed.pk] == "Our best customers"
    assert Segment.objects.filter(model_type="kmeans").count() == len(rows_of(version))


def test_more_clusters_split_segments_and_give_the_parts_new_ids(trained: TrainedModels) -> None:
    before = segment_ids(trained.kmeans)

    version = make_version(parameters={"n_clusters": 8})

    rows = rows_of(version)
    assert len(rows) == 8
    for row in rows:
        if row.fate == Fate.KEPT:
            assert row.segment_id in before
            assert row.match_score is not None
            assert row.match_score >= 0.5
        else:
            assert row.segment_id > max(before)
        assert set(row.related_segments) <= before
    assert Fate.SPLIT in {row.fate for row in rows}
    assert version.identity is not None
    assert set(version.identity["retired"]) == before - segment_ids(version)
    assert version.identity["warm_started"] is False


def test_fewer_clusters_merge_segments(trained: TrainedModels) -> None:
    version = make_version(parameters={"n_clusters": 2})

    merged = [row for row in rows_of(version) if row.fate == Fate.MERGED]
    assert merged
    for row in merged:
        assert len({*row.related_segments, row.segment_id} & segment_ids(trained.kmeans)) >= 2


def test_the_id_of_a_retired_segment_never_comes_back(trained: TrainedModels) -> None:
    ever: set[int] = segment_ids(trained.kmeans)
    retired: set[int] = set()
    for n_clusters in (2, 6, 3, 4):
        version = make_version(parameters={"n_clusters": n_clusters}, active=True)
        now = segment_ids(version)
        assert not now & retired
        retired |= ever - now
        ever |= now
    assert retired


def test_a_candidate_that_never_served_names_nobody(trained: TrainedModels) -> None:
    candidate = make_version(parameters={"n_clusters": 7})

    version = make_version(parameters={"n_clusters": 7})

    assert version.identity is not None
    assert version.identity["compared_with"] == trained.kmeans.number
    new = {row.segment_id for row in rows_of(version) if row.fate != Fate.KEPT}
    assert new.isdisjoint(segment_ids(candidate))


def test_segments_are_kept_when_the_features_change(trained: TrainedModels) -> None:
    names = [feature["name"] for feature in trained.kmeans.schema["features"]]

    version = make_version(features=names[:-2])

    assert version.identity is not None
    assert version.identity["basis"] == "customers"
    assert version.identity["warm_started"] is True
    assert Fate.KEPT in {row.fate for row in rows_of(version)}


def test_no_two_segments_of_a_type_are_named_alike(trained: TrainedModels) -> None:
    for _ in range(2):
        make_version(parameters={"n_clusters": 9})

    names = list(Segment.objects.filter(model_type="kmeans").values_list("name", flat=True))
    assert len(names) > 9
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_customers_nobody_knows_are_matched_by_what_is_typical(
    trained: TrainedModels, model_type: str
) -> None:
    Customer.objects.all().delete()
    strangers = make_records(n_customers=300, random_state=1)
    rows = {f"X-{row['customer_id']}": dict(row, customer_id=None) for row in strangers}
    upsert_customers(rows, at=timezone.now())

    version = make_version(model_type=model_type)

    assert version.identity is not None
    assert version.identity["basis"] == "centres"
    assert version.identity["n_shared"] == 0
    assert version.identity["kept_share"] is None
    assert segment_ids(version) == segment_ids(getattr(trained, model_type))


def test_a_handful_of_shared_customers_says_nothing_about_all_the_others(
    trained: TrainedModels,
) -> None:
    Customer.objects.exclude(pk__in=[row["customer_id"] for row in trained.records[:5]]).delete()
    others = {
        f"X-{n}": {"a": float(n % 3) * 9 + n / 400, "b": float(n % 3) * 9 - n / 400}
        for n in range(400)
    }
    upsert_customers(others, at=timezone.now())

    version = make_version(parameters={"n_clusters": 3}, features=["a", "b"])

    assert version.identity is not None
    assert version.identity["basis"] == "none"
    assert {row.fate for row in rows_of(version)} == {Fate.NEW}
    assert set(version.identity["retired"]) == segment_ids(trained.kmeans)


def test_customers_the_active_version_does_not_know_do_not_count_against_a_segment(
    trained: TrainedModels,
) -> None:
    more = make_records(n_customers=600, random_state=1)
    rows = {f"X-{row['customer_id']}": dict(row, customer_id=None) for row in more}
    upsert_customers(rows, at=timezone.now())

    version = make_version()

    assert version.identity is not None
    assert version.identity["n_shared"] == 300
    assert {row.fate for row in rows_of(version)} == {Fate.KEPT}


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_each_segment_is_described(trained: TrainedModels, model_type: str) -> None:
    version: ModelVersion = getattr(trained, model_type)

    rows = rows_of(version)

    names = [feature["name"] for feature in version.schema["features"]]
    for row in rows:
        assert [profile["feature"] for profile in row.features] == names
        assert len(row.distinguishing) <= 3
        assert all(abs(item["difference"]) >= 0.5 for item in row.distinguishing)
        assert row.rule is not None
        assert row.rule["text"]
        assert 0.0 <= row.rule["precision"] <= 1.0
        assert row.stability is not None
        assert 0.0 <= row.stability <= 1.0
        assert row.low_confidence_share is not None


def test_the_stored_rule_is_right_as_often_as_it_says(trained: TrainedModels) -> None:
    version = make_version(parameters={"n_clusters": 3})
    model = load(version, directory=settings.MODEL_DIR)
    assigned = segment_of(version)
    records = {row["customer_id"]: row for row in trained.records}
    raw = model.encoder.raw_from_records(list(records.values()))

    shown = [row for row in rows_of(version) if row.rule and row.rule["is_short"]]

    assert shown
    for row in shown:
        inside = [assigned[key] == row.segment_id for key in records]
        matched = [True] * len(records)
        assert row.rule is not None
        alternatives = row.rule["conditions"]
        for place in range(len(records)):
            matched[place] = any(
                all(_holds(condition, float(raw[condition["feature"]][place])) for condition in own)
                for own in alternatives
            )
        n_matched = sum(matched)
        n_right = sum(one and other for one, other in zip(matched, inside, strict=True))
        assert n_right / n_matched == pytest.approx(row.rule["precision"], abs=0.15)


def _holds(condition: dict[str, object], value: float) -> bool:
    if "levels" in condition:
        codes = condition["codes"]
        assert isinstance(codes, list)
        return value in codes
    if value != value:
        return bool(condition["or_missing"])
    above, at_most = condition["above"], condition["at_most"]
    return (above is None or value > float(str(above))) and (
        at_most is None or value <= float(str(at_most))
    )


def test_an_activated_retrain_serves_the_old_ids(trained: TrainedModels) -> None:
    version = make_version()

    make_active(version=version)

    assert segment_of(version) == segment_of(trained.kmeans)
