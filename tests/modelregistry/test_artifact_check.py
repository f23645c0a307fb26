"""Verifying a version's file from its page, and what page and list say of a damaged one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from audit.models import Outcome
from modelregistry import artifacts
from modelregistry.artifact_check import check_artifact, check_of, known_problem
from modelregistry.models import ArtifactCheck, ModelVersion, Stage
from tests.factories import BY, TrainedModels
from tests.staff import entries_after, last_entry_id, staff

VIEW, TRAIN = "modelregistry.view_modelversion", "modelregistry.train_modelversion"


@pytest.fixture(autouse=True)
def put_back(trained: TrainedModels) -> Iterator[None]:
    """The tests share the file."""
    path = Path(settings.MODEL_DIR) / trained.kmeans.artifact
    content = path.read_bytes()
    yield
    path.write_bytes(content)


def url(version: ModelVersion, page: str) -> str:
    return reverse(f"admin:modelregistry_modelversion_{page}", args=[version.pk])


def text(client: Client, version: ModelVersion) -> str:
    page = client.get(url(version, "change")).content.decode()
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def flip_a_byte(version: ModelVersion) -> None:
    path = Path(settings.MODEL_DIR) / version.artifact
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_whole_file_is_said_to_be_whole_with_one_entry(trained: TrainedModels) -> None:
    client, before = staff(VIEW, TRAIN), last_entry_id()
    assert "nobody asked for one" in text(client, trained.kmeans)

    response = client.post(url(trained.kmeans, "check_artifact"))

    assert response.headers["Location"] == f"{url(trained.kmeans, 'change')}#artifact"
    (entry,) = entries_after(before)
    assert (entry.action, entry.target_id, entry.outcome) == (
        "model_version.artifact_checked",
        "kmeans 1",
        Outcome.SUCCEEDED,
    )
    assert ArtifactCheck.objects.get().problem == ""
    page = text(client, trained.kmeans)
    assert "by ann: whole" in page and "predicted as at training" in page


def test_an_altered_file_is_found_and_shown_on_page_and_list(trained: TrainedModels) -> None:
    flip_a_byte(trained.kmeans)
    client, before = staff(VIEW, TRAIN), last_entry_id()

    client.post(url(trained.kmeans, "check_artifact"))

    (entry,) = entries_after(before)
    assert entry.outcome == Outcome.FAILED and "SHA-256" in entry.details
    page = text(client, trained.kmeans)
    assert "The file of this version is damaged, so it answers no predictions." in page
    assert "the SHA-256 digest is not the recorded one" in page
    assert "The map cannot be drawn" in page
    versions = client.get(reverse("admin:modelregistry_modelversion_changelist"))
    assert versions.content.decode().count("damaged") == 1


def test_the_check_reads_the_disk_and_not_the_memory(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a disk rots: the file looks unchanged from outside."""
    staff(VIEW).get(url(trained.kmeans, "change"))  # now it is in memory
    state = artifacts.file_state(Path(settings.MODEL_DIR) / trained.kmeans.artifact)
    monkeypatch.setattr(artifacts, "file_state", lambda path: state)
    flip_a_byte(trained.kmeans)

    check = check_artifact(
        trained.kmeans, directory=settings.MODEL_DIR, by=BY, at=trained.kmeans.trained_at
    )

    assert "the SHA-256 digest is not the recorded one" in check.problem


def test_an_absent_file_is_known_without_a_check(trained: TrainedModels) -> None:
    (Path(settings.MODEL_DIR) / trained.kmeans.artifact).unlink()

    assert "cannot be read" in known_problem(trained.kmeans, directory=settings.MODEL_DIR)


def test_a_check_of_a_file_that_was_replaced_since_says_nothing(trained: TrainedModels) -> None:
    version = trained.kmeans
    ArtifactCheck.objects.create(
        version=version,
        sha256="0" * 64,
        problem="gone",
        checked_at=version.trained_at,
        checked_by="ann",
    )

    assert check_of(ModelVersion.objects.get(pk=version.pk)) is None
    assert known_problem(version, directory=settings.MODEL_DIR) == ""


def test_asking_alone_checks_nothing(trained: TrainedModels) -> None:
    page = staff(VIEW, TRAIN).get(url(trained.kmeans, "check_artifact"))

    assert "SHA-256" in page.content.decode()
    assert not ArtifactCheck.objects.exists()


@pytest.mark.parametrize("permissions", [(), (VIEW,), (TRAIN,)])
def test_who_only_looks_has_no_check_made(
    trained: TrainedModels, permissions: tuple[str, ...]
) -> None:
    assert staff(*permissions).post(url(trained.kmeans, "check_artifact")).status_code == 403
    assert not ArtifactCheck.objects.exists()


def test_the_button_is_for_who_may_have_a_check_made(trained: TrainedModels) -> None:
    button, page = url(trained.kmeans, "check_artifact"), url(trained.kmeans, "change")

    assert button in staff(VIEW, TRAIN).get(page).content.decode()
    assert button not in staff(VIEW, name="ben").get(page).content.decode()


def test_a_version_that_is_not_trained_has_no_file_to_check(trained: TrainedModels) -> None:
    ModelVersion.objects.filter(pk=trained.kmeans.pk).update(stage=Stage.FAILED)

    response = staff(VIEW, TRAIN).post(url(trained.kmeans, "check_artifact"))

    assert response.headers["Location"] == url(trained.kmeans, "change")
    assert not ArtifactCheck.objects.exists()
