"""Segments in the admin: listed, looked at, named."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from django.urls import reverse

from segments.models import Assignment, Segment
from segments.naming import SUGGESTED
from tests.factories import TrainedModels
from tests.staff import entries_after, last_entry_id, staff

SEE_SEGMENTS, RENAME = "segments.view_segment", "segments.change_segment"


def page_of(model: str, key: object) -> str:
    return reverse(f"admin:segments_{model}_change", args=[key])


def segment_of(trained: TrainedModels, position: int = 0) -> Segment:
    return trained.kmeans.segments.select_related("segment").order_by("cluster")[position].segment


def test_the_list_shows_live_sizes_of_the_active_versions(trained: TrainedModels) -> None:
    segment = segment_of(trained)
    n_customers = Assignment.objects.filter(version=trained.kmeans, segment=segment).count()

    response = staff(SEE_SEGMENTS).get(reverse("admin:segments_segment_changelist"))

    sizes = {row.pk: row.n_customers for row in response.context["cl"].result_list}
    assert sizes[segment.pk] == n_customers


def test_renaming_keeps_a_given_name_in_one_entry_and_no_suggested_one(
    trained: TrainedModels,
) -> None:
    segment = segment_of(trained)
    client = staff(SEE_SEGMENTS, RENAME)
    before = last_entry_id()

    for name in ("Regulars", "Loyal"):
        client.post(page_of("segment", segment.pk), {"name": name, "description": "They stay."})

    renamed = Segment.objects.get(pk=segment.pk)
    assert (renamed.name, renamed.description) == ("Loyal", "They stay.")
    entries = entries_after(before)
    assert {(e.action, e.target_id) for e in entries} == {("segment.renamed", str(segment.pk))}
    assert [json.loads(entry.details)["changes"] for entry in entries] == [
        {"name": [SUGGESTED, "Regulars"], "description": [None, "changed"]},
        {"name": ["Regulars", "Loyal"]},
    ]
    assert segment.name not in entries[0].details, "a suggested name may hold a category"


def test_a_new_description_is_no_new_name(trained: TrainedModels) -> None:
    segment = segment_of(trained)
    client = staff(SEE_SEGMENTS, RENAME)
    before = last_entry_id()

    for _ in range(2):  # the second time nothing changes, and nothing is recorded
        client.post(
            page_of("segment", segment.pk), {"name": segment.name, "description": "They stay."}
        )

    assert [entry.action for entry in entries_after(before)] == ["segment.described"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_a_segment_needs_a_name(trained: TrainedModels, name: str) -> None:
    segment = segment_of(trained)

    response = staff(SEE_SEGMENTS, RENAME).post(page_of("segment", segment.pk), {"name": name})

    assert response.status_code == 200
    assert Segment.objects.get(pk=segment.pk).name == segment.name


def test_two_segments_of_a_version_are_not_called_the_same(trained: TrainedModels) -> None:
    one, other = segment_of(trained, 0), segment_of(trained, 1)

    response = staff(SEE_SEGMENTS, RENAME).post(
        page_of("segment", one.pk), {"name": other.name.upper()}
    )

    assert response.context["adminform"].form.errors["name"]
    assert Segment.objects.get(pk=one.pk).name == one.name


def test_renaming_needs_its_permission(trained: TrainedModels) -> None:
    segment = segment_of(trained)

    response = staff(SEE_SEGMENTS).post(page_of("segment", segment.pk), {"name": "Loyal"})

    assert response.status_code == 403
    assert Segment.objects.get(pk=segment.pk).name == segment.name


def test_the_admin_imports_neither_pandas_nor_scikit_learn() -> None:
    code = (
        "import django; django.setup(); import sys\n"
        "from django.urls import reverse; reverse('admin:index')\n"
        "sys.exit(str({'pandas', 'sklearn'} & set(sys.modules) or ''))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert result.stderr.strip() == ""
