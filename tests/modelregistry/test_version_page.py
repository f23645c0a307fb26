"""What the page of a version tells of its segments, and of what became of those before it."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from modelregistry.models import ModelVersion
from segments.models import Fate, Segment, VersionSegment
from tests.factories import TrainedModels, make_active, make_customers, make_version
from tests.staff import staff

VIEW, SEE_SEGMENTS = "modelregistry.view_modelversion", "segments.view_segment"


def url_of(version: ModelVersion) -> str:
    return reverse("admin:modelregistry_modelversion_change", args=[version.pk])


def raw_page(version: ModelVersion, *permissions: str, name: str = "ann") -> str:
    """Our part of the page, as it is sent."""
    page = staff(VIEW, *permissions, name=name).get(url_of(version)).content.decode()
    return page[page.index('<div class="seg">') :]


def text_of(version: ModelVersion, *permissions: str, name: str = "ann") -> str:
    """What a person reads there, in one line."""
    without_tags = re.sub(r"<[^>]*>", " ", raw_page(version, *permissions, name=name))
    return " ".join(html.unescape(without_tags).split())


def rows_of(version: ModelVersion) -> list[VersionSegment]:
    return list(version.segments.select_related("segment"))


def one_row(version: ModelVersion) -> Any:
    return VersionSegment.objects.filter(pk=rows_of(version)[0].pk)


# -- segments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_every_segment_is_described(trained: TrainedModels, model_type: str) -> None:
    version: ModelVersion = getattr(trained, model_type)
    page = text_of(version)

    rows = rows_of(version)
    assert rows
    for row in rows:
        assert f"{row.segment.name} #{row.segment_id} new" in page
        assert f"{row.share:.1%} {row.n_customers:,} customers" in page
        assert row.distinguishing
        for item in row.distinguishing:
            size = abs(item["difference"])
            assert re.search(rf"{re.escape(item['words'])} [+-]{size:.1f} sd", page)
        if row.rule["is_short"]:
            right, finds = row.rule["precision"], row.rule["recall"]
            assert (
                f"{row.rule['text']} Right for {right:.0%} of those it picks, finds {finds:.0%}"
            ) in page
        assert f"{row.stability:.2f}" in page
        assert f"{row.low_confidence_share:.1%} of its customers are nearly as close" in page


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_what_is_typical_stands_beside_everyone(trained: TrainedModels, model_type: str) -> None:
    version: ModelVersion = getattr(trained, model_type)
    profiles = {profile["feature"]: profile for profile in rows_of(version)[0].features}
    spend, channel = profiles["total_spend"], profiles["channel"]
    page = text_of(version)

    level = channel["levels"][0]
    assert f"{spend['robust_difference']:+.1f}" in page
    assert f"{level['level']} {level['share']:.0%}, ×{level['ratio']:.1f}" in page
    assert "Every level of the categories" in page
    for other in channel["levels"]:
        assert f"channel {other['level']} {other['everyone_share']:.0%}" in page


def test_a_later_date_is_above_everyones(trained: TrainedModels) -> None:
    rows = rows_of(trained.kmeans)
    late = [
        item for row in rows for item in row.distinguishing if item["feature"] == "signed_up_on"
    ]
    assert late
    page = text_of(trained.kmeans)

    for item in late:
        sign = "+" if "late " in item["words"] else "-"
        assert f"{item['words']} {sign}" in page


@pytest.mark.parametrize(
    ("stability", "words"),
    [
        (0.75, "firm 0.75 found again whenever"),
        (0.74, "soft 0.74 the pattern is there"),
        (0.6, "soft 0.60 the pattern is there"),
        (0.59, "shaky 0.59 often not found again"),
        (None, "Stability was not measured"),
    ],
)
def test_stability_is_said_in_words(
    trained: TrainedModels, stability: float | None, words: str
) -> None:
    one_row(trained.kmeans).update(stability=stability)

    assert words in text_of(trained.kmeans)


def test_shaky_segments_are_counted_at_the_top(trained: TrainedModels) -> None:
    trained.kmeans.segments.update(stability=0.9)
    before = text_of(trained.kmeans, name="before")
    one_row(trained.kmeans).update(stability=0.3)

    assert "shaky" not in before
    assert "1 of 4 segments is shaky" in text_of(trained.kmeans, name="after")


def test_a_weak_rule_is_not_shown_but_its_precision_is(trained: TrainedModels) -> None:
    row = rows_of(trained.kmeans)[0]
    weak = {**row.rule, "text": "no short rule", "is_short": False, "precision": 0.54}
    one_row(trained.kmeans).update(rule=weak)
    page = text_of(trained.kmeans)

    assert "No short rule. The best one would be right for only 54% of those it picks." in page


def test_a_cluster_too_small_for_a_rule_says_so(trained: TrainedModels) -> None:
    row = rows_of(trained.kmeans)[0]
    one_row(trained.kmeans).update(rule={**row.rule, "is_short": False, "conditions": []})

    assert "No short rule. Too few customers to learn one from." in text_of(trained.kmeans)


def test_a_segment_like_everyone_says_that_nothing_stands_out(trained: TrainedModels) -> None:
    one_row(trained.kmeans).update(distinguishing=[])

    assert "Nothing stands out" in text_of(trained.kmeans)


def test_names_lead_to_the_segment_only_for_who_may_see_it(trained: TrainedModels) -> None:
    segment = rows_of(trained.kmeans)[0].segment
    url = reverse("admin:segments_segment_change", args=[segment.pk])

    assert url in raw_page(trained.kmeans, SEE_SEGMENTS, name="reader")
    assert url in raw_page(trained.kmeans, "segments.change_segment", name="namer")
    assert url not in raw_page(trained.kmeans, name="neither")


def test_hostile_names_words_and_levels_are_text(trained: TrainedModels) -> None:
    evil = "<img src=x onerror=alert(1)>"
    row = rows_of(trained.kmeans)[0]
    Segment.objects.filter(pk=row.segment_id).update(name=evil, description=evil)
    features = [dict(profile) for profile in row.features]
    for profile in features:
        profile["levels"] = [{**level, "level": evil} for level in profile["levels"]]
        if profile["kind"] == "category":
            profile["median"] = evil
    words = [{**item, "words": evil} for item in row.distinguishing]
    rule = {**row.rule, "text": evil, "is_short": True}
    one_row(trained.kmeans).update(features=features, distinguishing=words, rule=rule)
    ModelVersion.objects.filter(pk=trained.kmeans.pk).update(note=evil)

    page = raw_page(trained.kmeans, SEE_SEGMENTS)

    assert evil not in page
    assert page.count(html.escape(evil)) >= 8


def test_our_part_of_the_page_has_no_inline_style_or_script(trained: TrainedModels) -> None:
    page = raw_page(trained.kmeans, SEE_SEGMENTS)
    ours = page[: page.index("<h2>Artifact</h2>")]

    assert "style=" not in ours
    assert "<script" not in ours
    assert not re.search(r"\son\w+=", ours)


def test_thirty_segments_of_sixty_features_cost_no_more_queries(trained: TrainedModels) -> None:
    version = trained.kmeans
    client = staff(VIEW, SEE_SEGMENTS)
    client.get(url_of(version))
    with CaptureQueriesContext(connection) as few:
        client.get(url_of(version))
    feature = version.schema["features"][1]
    names = [f"feature_{i}" for i in range(60)]
    schema = {**version.schema, "features": [{**feature, "name": name} for name in names]}
    ModelVersion.objects.filter(pk=version.pk).update(schema=schema)
    row = rows_of(version)[0]
    profile = next(item for item in row.features if item["feature"] == feature["name"])
    features = [{**profile, "feature": name} for name in names]
    version.segments.update(features=features)
    for cluster in range(4, 30):
        segment = Segment.objects.create(
            model_type="kmeans", name=f"Segment {cluster}", created_at=version.trained_at
        )
        row.pk, row.cluster, row.segment, row.features = None, cluster, segment, features
        row._state.adding = True
        row.save()

    with CaptureQueriesContext(connection) as many:
        page = client.get(url_of(version)).content.decode()

    assert page.count("<article") == 30
    assert page.count('<th scope="row">feature_') == 60
    assert len(many) == len(few)


# -- doubt --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evidence", "is_loud"), [("none", True), ("weak", True), ("strong", False)]
)
def test_doubt_about_segments_stands_at_the_top(
    trained: TrainedModels, evidence: str, *, is_loud: bool
) -> None:
    curve = [
        {"n_clusters": k, "score": k / 10, "large_enough": True, "smallest_share": 0.1}
        for k in (2, 3, 4)
    ]
    ModelVersion.objects.filter(pk=trained.kmeans.pk).update(
        selection={
            "chosen": {"n_clusters": 4},
            "curve": curve,
            "reason": "k = 4 is the least bad.",
            "evidence": evidence,
        }
    )
    trained.kmeans.segments.update(stability=0.9)
    page = raw_page(trained.kmeans)
    top = page[: page.index("seg-tiles")]

    assert ("seg-callout" in top) == is_loud
    assert "Runner-up:" in page and "k = 3: score 0.300 against 0.400" in page
    assert "k = 4 is the least bad." in page
    if evidence == "none":
        assert "seg-callout seg-bad" in top and "Do not act on them" in top


def test_a_degenerate_version_says_so_loudly(trained: TrainedModels) -> None:
    lump = make_version(model_type="dbscan", parameters={"eps": 1000.0, "min_samples": 5})
    page = raw_page(lump)

    assert "Degenerate: Only one cluster was found" in page[: page.index("seg-tiles")]
    assert page.count("<article") == 1


def test_a_version_without_clusters_has_a_page_too(trained: TrainedModels) -> None:
    dust = make_version(model_type="dbscan", parameters={"eps": 0.001, "min_samples": 50})
    page = text_of(dust)

    assert "No cluster was found: every customer is noise." in page
    assert "What is typical of each" not in page
    assert f"{trained.dbscan.segments.count()} retired" in page


def test_versions_from_before_descriptions_are_shown_as_they_are(trained: TrainedModels) -> None:
    trained.kmeans.segments.update(
        features=[],
        distinguishing=[],
        rule=None,
        stability=None,
        low_confidence_share=None,
        fate=Fate.NEW,
        match_score=None,
        related_segments=[],
    )
    metrics = {k: v for k, v in trained.kmeans.metrics.items() if k != "stability"}
    ModelVersion.objects.filter(pk=trained.kmeans.pk).update(
        identity=None, selection=None, metrics=metrics
    )
    page = text_of(trained.kmeans)

    row = rows_of(trained.kmeans)[0]
    assert f"{row.segment.name} #{row.segment_id} new" in page
    assert "Trained before segments were described." in page
    assert "Stability" not in page
    assert f"{row.medians['age']:.0f}" in page


# -- what became of the segments ----------------------------------------------------------------


def test_the_first_version_was_compared_with_none(trained: TrainedModels) -> None:
    page = text_of(trained.kmeans)

    assert trained.kmeans.identity is None
    assert "It was compared with no other version" in page


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_a_retraining_on_the_same_customers_keeps_every_segment(
    trained: TrainedModels, model_type: str
) -> None:
    again = make_version(model_type=model_type)
    n_segments = again.segments.count()
    page = text_of(again)

    assert f"Compared with {model_type} 1 on the" in page
    assert f"100.0% of the customers that had a segment in {model_type} 1 keep it." in page
    assert f"{n_segments} kept" in page
    for row in rows_of(again):
        assert f"{row.segment.name} #{row.segment_id} kept 1.00" in page
    assert ("Fitted from the centres of kmeans 1" in page) == (model_type == "kmeans")


def test_more_clusters_split_a_segment_and_say_from_which(trained: TrainedModels) -> None:
    finer = make_version(parameters={"n_clusters": 6})
    parts = finer.segments.filter(fate=Fate.SPLIT).select_related("segment")
    assert parts
    page = text_of(finer)

    assert "Fitted afresh: kmeans 1 has 4 segments" in page
    assert f"{len(parts)} split" in page
    for part in parts:
        source = Segment.objects.get(pk=part.related_segments[0])
        assert (
            f"split {part.segment.name} #{part.segment_id} {part.match_score:.2f} "
            f"came from {source.name} #{source.pk}"
        ) in page


def test_fewer_clusters_retire_segments_by_name(trained: TrainedModels) -> None:
    coarser = make_version(parameters={"n_clusters": 2})
    assert coarser.identity is not None
    retired = Segment.objects.filter(pk__in=coarser.identity["retired"])
    assert len(retired) == 2
    page = text_of(coarser)

    assert "2 retired" in page
    for segment in retired:
        start = f"retired {segment.name} #{segment.pk} – "
        heirs = [row for row in rows_of(coarser) if segment.pk in row.related_segments]
        named = ", ".join(f"{heir.segment.name} #{heir.segment_id}" for heir in heirs)
        assert start + (f"went into {named}" if heirs else "–") in page
        for heir in heirs:
            assert f"merged {heir.segment.name} #{heir.segment_id}" in page
    assert "took in" in page and "went into" in page


def test_a_fresh_start_that_was_clearly_better_says_so(trained: TrainedModels) -> None:
    again = make_version()
    identity = {**(again.identity or {}), "warm_started": False}
    ModelVersion.objects.filter(pk=again.pk).update(identity=identity)

    assert "no start from the centres of kmeans 1 came within 2% of it" in text_of(again)


def test_segments_matched_on_centres_have_a_closeness(trained: TrainedModels) -> None:
    again = make_version()
    identity = {**(again.identity or {}), "basis": "centres", "kept_share": None, "n_shared": 0}
    ModelVersion.objects.filter(pk=again.pk).update(identity=identity)
    page = text_of(again)

    assert "no customer is in both" in page
    assert "Closeness" in page and "Overlap" not in page
    assert "keep it." not in page


# -- the list and the overview ------------------------------------------------------------------


def test_the_list_tells_evidence_and_kept_customers_in_the_same_queries(
    trained: TrainedModels,
) -> None:
    url = reverse("admin:modelregistry_modelversion_changelist")
    client = staff(VIEW)
    client.get(url)
    with CaptureQueriesContext(connection) as few:
        client.get(url)
    again = make_version()
    ModelVersion.objects.filter(pk=again.pk).update(selection={"evidence": "weak"})

    with CaptureQueriesContext(connection) as many:
        page = client.get(url).content.decode()

    assert "weak" in page and "not tested" in page
    assert "100.0%" in page
    assert len(many) == len(few)


def test_the_overview_tells_the_evidence_of_what_serves(db: None) -> None:
    make_customers(n_customers=120)
    version = make_version(parameters={"random_state": 1})
    make_active(version=version)
    assert version.selection is not None

    page = " ".join(re.sub(r"<[^>]*>", " ", staff(VIEW).get("/admin/").content.decode()).split())

    assert f"Evidence of segments {version.selection['evidence']}" in page
