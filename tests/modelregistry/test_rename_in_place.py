"""Renaming a segment on its card: done and back at the card, or the reason beside the field."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.urls import reverse

from modelregistry.models import ModelVersion
from segments.models import Segment
from tests.factories import TrainedModels
from tests.staff import entries_after, last_entry_id, staff

VIEW, RENAME = "modelregistry.view_modelversion", "segments.change_segment"


def rename_url(version: ModelVersion, segment: Segment) -> str:
    return reverse("admin:modelregistry_modelversion_rename", args=[version.pk, segment.pk])


def segments_of(version: ModelVersion) -> list[Segment]:
    return [row.segment for row in version.segments.select_related("segment")]


def test_a_card_renames_its_segment_and_leads_back(trained: TrainedModels) -> None:
    segment = segments_of(trained.kmeans)[0]
    client, before = staff(VIEW, RENAME), last_entry_id()
    page = reverse("admin:modelregistry_modelversion_change", args=[trained.kmeans.pk])
    assert f'action="{rename_url(trained.kmeans, segment)}"' in client.get(page).content.decode()

    response = client.post(
        rename_url(trained.kmeans, segment), {"name": " Loyal ", "description": "Buys often."}
    )

    assert response.headers["Location"] == f"{page}#segment-{segment.pk}"
    segment.refresh_from_db()
    assert (segment.name, segment.description) == ("Loyal", "Buys often.")
    assert [entry.action for entry in entries_after(before)] == ["segment.renamed"]


@pytest.mark.parametrize("name", ["", "x" * 101, "taken"])
def test_a_refused_name_stays_in_the_open_form_with_the_reason(
    trained: TrainedModels, name: str
) -> None:
    first, second = segments_of(trained.kmeans)[:2]
    typed = second.name if name == "taken" else name

    response = staff(VIEW, RENAME).post(
        rename_url(trained.kmeans, first), {"name": typed, "description": "kept"}
    )

    page = unescape(response.content.decode())
    (opened,) = re.findall(r'<details class="seg-rename" open>.*?</details>', page, re.DOTALL)
    assert rename_url(trained.kmeans, first) in opened and "kept" in opened
    assert f'value="{typed}"' in opened or not typed
    assert "errorlist" in opened or "text-red" in opened
    first.refresh_from_db()
    assert first.name != typed


@pytest.mark.parametrize("permissions", [(VIEW,), (RENAME,), (VIEW, "segments.view_segment")])
def test_who_may_not_rename_gets_no_form_and_no_way(
    trained: TrainedModels, permissions: tuple[str, ...]
) -> None:
    segment = segments_of(trained.kmeans)[0]
    client = staff(*permissions)

    response = client.post(rename_url(trained.kmeans, segment), {"name": "Loyal"})

    assert response.status_code == 403
    segment.refresh_from_db()
    assert segment.name != "Loyal"
    if VIEW in permissions:
        page = reverse("admin:modelregistry_modelversion_change", args=[trained.kmeans.pk])
        assert "seg-rename" not in client.get(page).content.decode()


def test_a_segment_of_another_version_is_not_found_here(trained: TrainedModels) -> None:
    other = segments_of(trained.dbscan)[0]

    response = staff(VIEW, RENAME).post(rename_url(trained.kmeans, other), {"name": "Loyal"})

    assert response.status_code == 404
