"""The train form: what it shows of features, how it is filled in from a version or a job."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from modelregistry.models import JobState, TrainingJob
from tests.factories import TrainedModels, make_customers, make_version
from tests.staff import staff

VIEW, TRAIN = "modelregistry.view_modelversion", "modelregistry.train_modelversion"
JOBS = "modelregistry.view_trainingjob"
URL = "/admin/modelregistry/modelversion/train/"


def form_of(*permissions: str, query: str = "", name: str = "ann") -> Any:
    response = staff(VIEW, TRAIN, *permissions, name=name).get(f"{URL}{query}")
    assert response.status_code == 200
    return response


def text(response: Any) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", response.content.decode())).split())


def test_each_feature_stands_with_what_is_known_of_it(trained: TrainedModels) -> None:
    page = text(form_of())

    (omitted, *_) = trained.dbscan.schema["omitted"]
    assert re.search(rf"{omitted['name']} .*? left out {re.escape(omitted['reason'])}", page)
    assert re.search(r"channel category none \d app, |channel category none \d ", page)
    assert "Judged from 300 stored customers" in page and "dbscan 1" in page


def test_it_is_filled_in_from_a_version(trained: TrainedModels) -> None:
    features = [item["name"] for item in trained.kmeans.schema["features"][:2]]
    version = make_version(parameters={"n_clusters": 3, "random_state": 5}, features=features)

    form = form_of(query=f"?version={version.pk}").context["form"]

    assert (form["model_type"].value(), form["n_clusters"].value()) == ("kmeans", "3")
    assert form["random_state"].value() == "5"
    assert sorted(form["features"].value()) == sorted(features)
    plain = form_of(query=f"?version={trained.dbscan.pk}", name="bob").context["form"]
    assert (plain["model_type"].value(), plain["eps"].value()) == ("dbscan", "2.0")
    assert plain["features"].value() == [], "they were not chosen"


def test_it_is_filled_in_from_a_job_for_who_may_see_jobs(trained: TrainedModels) -> None:
    job = TrainingJob.objects.create(
        model_type="dbscan", parameters={"eps": 1.5}, note="spring", queued_by="ann"
    )

    seen = form_of(JOBS, query=f"?job={job.pk}").context["form"]
    unseen = form_of(query=f"?job={job.pk}", name="bob").context["form"]

    assert (seen["model_type"].value(), seen["eps"].value()) == ("dbscan", "1.5")
    assert seen["note"].value() == "spring"
    assert unseen["note"].value() is None


@pytest.mark.parametrize("query", ["?version=x", "?version=99", "?job=-1", f"?job={'9' * 40}"])
def test_nonsense_gives_an_empty_form(trained: TrainedModels, query: str) -> None:
    assert form_of(JOBS, query=query).context["form"].initial == {}


def test_what_was_typed_stays_after_an_error(trained: TrainedModels) -> None:
    feature = trained.kmeans.schema["features"][0]["name"]

    response = staff(VIEW, TRAIN).post(
        URL, {"model_type": "kmeans", "n_clusters": "1", "features": [feature], "note": "spring"}
    )

    page = response.content.decode()
    assert 'value="1"' in page and 'value="spring"' in page
    assert len(re.findall(r"<input[^>]*name=\"features\"[^>]* checked>", page)) == 1


@pytest.mark.parametrize(
    ("n_customers", "words"), [(0, "No customers are stored yet"), (4, "6 more")]
)
def test_too_few_customers_are_said_with_the_way_to_more(
    db: None, n_customers: int, words: str
) -> None:
    if n_customers:
        make_customers(n_customers=n_customers)
    importer = form_of("segments.import_customer", "segments.view_customer")

    assert words in text(importer)
    assert reverse("admin:segments_customer_import_view") in importer.content.decode()
    assert 'name="model_type"' not in importer.content.decode()
    assert "Ask somebody" in text(form_of(name="bob"))


# -- jobs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("Training needs at least 10 customers, found 3.", "Import more customers"),
        ("no usable features: 'a': missing", "Choose other features"),
        ("Customers were erased while it was trained", "without the customers who were erased"),
        ("The process that trained it was stopped.", "for want of memory"),
        ("'x'\nTraceback", "This was not foreseen"),
        ("eps: too small", "Change what was asked for"),
    ],
)
def test_a_failed_job_says_what_to_do(db: None, error: str, words: str) -> None:
    job = TrainingJob.objects.create(
        model_type="kmeans", queued_by="ann", state=JobState.FAILED, error=error
    )

    response = staff(JOBS, TRAIN, VIEW).get(
        reverse("admin:modelregistry_trainingjob_change", args=[job.pk])
    )

    assert words in text(response)
    assert f"{URL}?job={job.pk}" in response.content.decode()


def test_a_running_job_shows_its_stages_and_the_time_of_the_last(trained: TrainedModels) -> None:
    last = TrainingJob.objects.filter(model_type="kmeans", state=JobState.SUCCEEDED).latest("pk")
    assert last.started_at
    finished_at = last.started_at + timedelta(minutes=10)
    TrainingJob.objects.filter(pk=last.pk).update(finished_at=finished_at)
    job = TrainingJob.objects.create(
        model_type="kmeans",
        queued_by="ann",
        state=JobState.RUNNING,
        progress=0.65,
        step="describing",
        started_at=timezone.now() - timedelta(minutes=4),
        heartbeat_at=timezone.now(),
    )

    page = text(staff(JOBS).get(reverse("admin:modelregistry_trainingjob_change", args=[job.pk])))

    assert "done Choosing the parameters" in page
    assert "now Describing the segments describing" in page
    assert "to come Assigning the customers" in page
    assert re.search(r"took 10 min 0 s: about (5 min 5\d s|6 min 0 s) left", page)
