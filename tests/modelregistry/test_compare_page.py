"""The compare page: who moves where, winners and losers, gates, and the way to activate."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.test import Client
from django.urls import reverse

from access.figures import figure, share
from modelregistry.activation import pointer_of
from modelregistry.comparison_page import matrix, points
from modelregistry.models import Activation, ModelVersion, Stage
from segments.comparison import compare
from segments.models import Assignment
from tests.factories import TrainedModels, make_customers, make_version
from tests.staff import entries_after, last_entry_id, staff

VIEW = "modelregistry.view_modelversion"
ACTIVATE = "modelregistry.activate_modelversion"
NOTHING_MAY_MOVE = {
    "moved_share": 0.0,
    "noise_share": None,
    "silhouette_drop": None,
    "drift_threshold": None,
}


def url(version: ModelVersion, page: str = "compare") -> str:
    return reverse(f"admin:modelregistry_modelversion_{page}", args=[version.pk])


def text_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return unescape(response.content.decode())


def confirmed(version: ModelVersion, **fields: Any) -> dict[str, Any]:
    generation = pointer_of(version.model_type).generation
    return {"reason": "better segments", "generation": generation, **fields}


def test_the_page_shows_what_the_comparison_says(trained: TrainedModels) -> None:
    version = make_version(parameters={"n_clusters": 6})
    comparison = compare(version, trained.kmeans)

    page = text_of(staff(VIEW), url(version))

    assert "Compare kmeans 2 with kmeans 1" in page
    assert share(comparison.moved_share) in page
    assert f"{figure(comparison.n_moved)} customers" in page
    for change in comparison.segments:
        assert change.name in page
        assert points(change.share_change) in page
    for n in comparison.counts[comparison.counts > 0]:
        assert f">{figure(int(n))}<small>" in page
    assert figure(version.metrics["silhouette"]) in page
    assert figure(trained.kmeans.metrics["silhouette"]) in page


def test_a_cell_is_shaded_by_its_share_of_the_row(trained: TrainedModels) -> None:
    comparison = compare(make_version(parameters={"n_clusters": 8}), trained.kmeans)

    shown = matrix(comparison)

    for (_, _, cells), counts in zip(shown.rows, comparison.counts.tolist(), strict=True):
        for cell, n in zip(cells, counts, strict=True):
            assert (cell.shade == 0) == (n == 0)
            assert 5 * n / sum(counts) <= cell.shade <= 5 * n / sum(counts) + 1


def test_noise_is_named(trained: TrainedModels) -> None:
    version = make_version(model_type="dbscan", parameters={"eps": 1.5, "min_samples": 8})

    page = text_of(staff(VIEW), url(version))

    assert "Noise" in page
    assert "customers are noise; the limit is 50%." in page


def test_an_angle_bracket_in_a_name_stays_text(trained: TrainedModels) -> None:
    segment = trained.kmeans.segments.select_related("segment")[0].segment
    segment.name = "<script>alert(1)</script>"
    segment.save()
    version = make_version(parameters={"n_clusters": 8})

    page = staff(VIEW).get(url(version)).content.decode()

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_who_may_only_look_gets_no_form(trained: TrainedModels) -> None:
    version = make_version()

    viewer = text_of(staff(VIEW, name="viewer"), url(version))
    operator = text_of(staff(VIEW, ACTIVATE, name="operator"), url(version))

    assert 'name="reason"' not in viewer and "No gate stops kmeans 2" in viewer
    assert 'name="reason"' in operator
    assert 'name="force"' not in operator


@pytest.mark.parametrize("permissions", [(), (ACTIVATE,)])
def test_the_page_needs_the_permission_to_look(
    trained: TrainedModels, permissions: tuple[str, ...]
) -> None:
    assert staff(*permissions).get(url(trained.kmeans)).status_code == 403


def test_a_breached_gate_is_shown_and_force_is_offered(
    trained: TrainedModels, settings: Any
) -> None:
    settings.GATE_LIMITS = NOTHING_MAY_MOVE
    version = make_version(parameters={"n_clusters": 8})

    page = text_of(staff(VIEW, ACTIVATE), url(version))

    assert "would move to another segment; the limit is 0%." in page
    assert re.search(r"seg-label-bad\">breached", page)
    assert 'name="force"' in page


def test_the_form_of_the_page_activates(trained: TrainedModels) -> None:
    version = make_version()
    client = staff(VIEW, ACTIVATE)
    before = last_entry_id()
    action = re.search(r'<form method="post" action="([^"]+)"', text_of(client, url(version)))
    assert action

    response = client.post(action[1], confirmed(version))

    assert response.status_code == 302
    assert pointer_of("kmeans").active == version
    assert [entry.action for entry in entries_after(before)] == ["model_version.activated"]


def test_a_refusal_names_the_gate_and_force_with_a_reason_overrules_it(
    trained: TrainedModels, settings: Any
) -> None:
    settings.GATE_LIMITS = NOTHING_MAY_MOVE
    version = make_version(parameters={"n_clusters": 8})
    client = staff(VIEW, ACTIVATE)

    refused = unescape(client.post(url(version, "activate"), confirmed(version)).content.decode())
    after_refusal = pointer_of("kmeans").active
    client.post(url(version, "activate"), confirmed(version, force="on"))

    assert "kmeans 2 was not activated." in refused
    assert "would move to another segment; the limit is 0%." in refused
    assert 'name="force"' in refused
    assert after_refusal == trained.kmeans
    assert pointer_of("kmeans").active == version
    assert Activation.objects.latest("id").forced


def test_before_the_first_activation_there_is_only_the_form(db: None) -> None:
    make_customers()
    version = make_version()

    page = text_of(staff(VIEW, ACTIVATE), url(version))

    assert "nobody moves" in page
    assert 'name="reason"' in page


def test_who_cannot_be_compared_is_said(trained: TrainedModels) -> None:
    version = make_version()
    Assignment.objects.filter(version=version).update(customer_revision=77)

    page = text_of(staff(VIEW, ACTIVATE), url(version))

    assert "300 changed since one of the two versions was assigned" in page
    assert "Nobody can be compared" in page
    assert re.search(r"seg-label-plain\">not measured", page)
    assert "No gate stops" not in page
    assert 'name="force"' not in page


def test_a_version_of_another_line_says_so(trained: TrainedModels) -> None:
    version = make_version()
    make_version(active=True)

    page = text_of(staff(VIEW), url(version))

    assert "kmeans 2 was trained while kmeans 1 served" in page


def test_any_other_version_can_be_chosen(trained: TrainedModels) -> None:
    make_version(parameters={"n_clusters": 6})
    third = make_version(parameters={"n_clusters": 5})

    page = text_of(staff(VIEW, ACTIVATE), f"{url(third)}?with=2")

    assert "Compare kmeans 3 with kmeans 2" in page
    assert 'name="reason"' not in page
    for nonsense in ("", "x", "99", "3"):
        page = text_of(staff(VIEW, name=f"u{nonsense}"), f"{url(third)}?with={nonsense}")
        assert "Compare kmeans 3 with kmeans 1" in page


def test_the_active_version_is_compared_with_the_one_before_it(trained: TrainedModels) -> None:
    version = make_version(active=True)

    page = text_of(staff(VIEW, ACTIVATE), url(version))

    assert "Compare kmeans 2 with kmeans 1" in page
    assert 'name="reason"' not in page


def test_an_untrained_version_leads_back_to_its_page(trained: TrainedModels) -> None:
    half = make_version()
    ModelVersion.objects.filter(pk=half.pk).update(stage=Stage.FAILED)

    response = staff(VIEW).get(url(half))

    assert response.headers["Location"] == url(half, "change")


def test_a_damaged_artifact_is_said_on_the_page(trained: TrainedModels) -> None:
    version = make_version()
    path = Path(project_settings.MODEL_DIR) / version.artifact
    path.write_bytes(path.read_bytes()[:-1])

    page = text_of(staff(VIEW, ACTIVATE), url(version))

    assert version.artifact in page
    assert "No gate stops" not in page


def test_the_page_of_a_candidate_leads_here(trained: TrainedModels) -> None:
    version = make_version()
    client = staff(VIEW)

    assert url(version) in text_of(client, url(version, "change"))
    assert url(trained.kmeans) not in text_of(client, url(trained.kmeans, "change"))


def test_unknown_versions_are_not_found(db: None) -> None:
    versions = reverse("admin:modelregistry_modelversion_changelist")

    response = staff(VIEW).get(f"{versions}99/compare/", follow=True)

    assert "doesn’t exist" in response.content.decode()
