"""Model versions in the admin: look, train, activate, roll back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.models import ActorKind
from modelregistry.activation import pointer_of
from modelregistry.models import Activation, JobState, ModelVersion, TrainingJob
from segments.jobs import run_queued
from tests.factories import TrainedModels, make_active, make_customers, make_version
from tests.staff import entries_after, last_entry_id, staff

VIEW = "modelregistry.view_modelversion"
TRAIN = "modelregistry.train_modelversion"
ACTIVATE = "modelregistry.activate_modelversion"
JOBS = "modelregistry.view_trainingjob"
TRAIN_URL = "/admin/modelregistry/modelversion/train/"


def page_of(version: ModelVersion) -> str:
    return reverse("admin:modelregistry_modelversion_change", args=[version.pk])


def activate_url(version: ModelVersion) -> str:
    return reverse("admin:modelregistry_modelversion_activate", args=[version.pk])


def roll_back_url(model_type: str = "kmeans") -> str:
    return reverse("admin:modelregistry_modelversion_roll_back", args=[model_type])


def confirmed(version: ModelVersion, **fields: Any) -> dict[str, Any]:
    generation = pointer_of(version.model_type).generation
    return {"reason": "better segments", "generation": generation, **fields}


def active_of(model_type: str = "kmeans") -> ModelVersion | None:
    return pointer_of(model_type).active


# -- looking ------------------------------------------------------------------------------------


def test_the_list_says_which_version_serves(trained: TrainedModels) -> None:
    candidate = make_version(parameters={"n_clusters": 3})

    page = staff(VIEW).get(reverse("admin:modelregistry_modelversion_changelist"))

    states = {version.pk: version.state for version in page.context["cl"].result_list}
    assert states[trained.kmeans.pk] == "active"
    assert states[candidate.pk] == "candidate"


def test_the_page_of_a_version_shows_all_there_is_to_know(trained: TrainedModels) -> None:
    page = staff(VIEW).get(page_of(trained.kmeans)).content.decode()

    for segment in trained.kmeans.segments.select_related("segment"):
        assert segment.segment.name in page
    for feature in trained.kmeans.schema["features"]:
        assert feature["name"] in page
    for omission in trained.kmeans.schema["omitted"]:
        assert omission["name"] in page
    assert trained.kmeans.artifact_sha256 in page
    assert "Silhouette" in page and "n_clusters" in page
    assert Activation.objects.get(to_version=trained.kmeans).reason in page


def test_an_automatic_choice_is_shown_as_a_chart_with_its_table(db: None) -> None:
    make_customers(n_customers=120)
    version = make_version(parameters={"random_state": 1})

    page = staff(VIEW).get(page_of(version)).content.decode()

    assert 'data-type="line"' in page
    assert version.selection["reason"] in page.replace("&#x27;", "'").replace("&quot;", '"')
    assert f'<td class="seg-number">{version.selection["chosen"]["n_clusters"]}</td>' in page


def test_a_version_cannot_be_edited_or_deleted(trained: TrainedModels) -> None:
    client = staff(VIEW, TRAIN, ACTIVATE)
    delete_url = reverse("admin:modelregistry_modelversion_delete", args=[trained.kmeans.pk])

    assert client.post(page_of(trained.kmeans), {"note": "x"}).status_code == 403
    assert client.post(delete_url, {"post": "yes"}).status_code == 403
    assert ModelVersion.objects.filter(pk=trained.kmeans.pk, note=trained.kmeans.note).exists()


def test_buttons_are_there_only_for_who_may_press_them(trained: TrainedModels) -> None:
    candidate = make_version(parameters={"n_clusters": 3})
    versions = reverse("admin:modelregistry_modelversion_changelist")

    viewer, operator, trainer = (
        staff(VIEW, name="viewer"),
        staff(VIEW, ACTIVATE, name="operator"),
        staff(VIEW, TRAIN, name="trainer"),
    )

    assert activate_url(candidate) not in viewer.get(page_of(candidate)).content.decode()
    assert activate_url(candidate) in operator.get(page_of(candidate)).content.decode()
    assert TRAIN_URL not in viewer.get(versions).content.decode()
    assert TRAIN_URL not in operator.get(versions).content.decode()
    assert TRAIN_URL in trainer.get(versions).content.decode()


# -- training -----------------------------------------------------------------------------------


def test_train_queues_a_job_and_leaves_one_entry(
    trained: TrainedModels, django_capture_on_commit_callbacks: Any, monkeypatch: Any
) -> None:
    queued: list[Any] = []
    monkeypatch.setattr("segments.jobs.async_task", lambda *args: queued.append(args))
    before = last_entry_id()

    with django_capture_on_commit_callbacks(execute=True):
        response = staff(VIEW, TRAIN, JOBS).post(
            TRAIN_URL, {"model_type": "kmeans", "n_clusters": "3", "note": "spring"}
        )

    job = TrainingJob.objects.latest("id")
    assert response.headers["Location"] == reverse(
        "admin:modelregistry_trainingjob_change", args=[job.pk]
    )
    assert (job.parameters, job.features, job.note) == ({"n_clusters": 3}, None, "spring")
    assert queued == [("segments.jobs.run_queued", job.pk)]
    (entry,) = entries_after(before)
    assert (entry.action, entry.actor_kind, entry.actor_id) == (
        "training.queued",
        ActorKind.USER,
        "ann",
    )
    assert entry.request_id == response.headers["X-Request-ID"]


def test_the_queued_job_becomes_a_candidate(trained: TrainedModels) -> None:
    feature = trained.kmeans.schema["features"][0]["name"]
    other = trained.kmeans.schema["features"][1]["name"]
    client = staff(VIEW, TRAIN, JOBS)
    client.post(
        TRAIN_URL, {"model_type": "kmeans", "n_clusters": "2", "features": [feature, other]}
    )
    job = TrainingJob.objects.latest("id")
    page = reverse("admin:modelregistry_trainingjob_change", args=[job.pk])
    waiting = client.get(page).content.decode()

    run_queued(job.pk)
    done = client.get(page).content.decode()

    job.refresh_from_db()
    assert "every 2s" in waiting and "every 2s" not in done
    assert page_of(job.version) in done
    assert {item["name"] for item in job.version.schema["features"]} == {feature, other}


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_clusters", "1"), ("n_clusters", "many"), ("random_state", "-1"), ("features", "nope")],
)
def test_train_refuses_what_cannot_be_trained(db: None, field: str, value: str) -> None:
    response = staff(VIEW, TRAIN).post(TRAIN_URL, {"model_type": "kmeans", field: value})

    assert response.status_code == 200
    assert response.context["form"].errors[field]
    assert not TrainingJob.objects.exists()


def test_each_wrong_parameter_is_told_at_its_own_field(db: None) -> None:
    typed = {"model_type": "kmeans", "n_clusters": "1", "n_init": "0", "random_state": "-5"}

    errors = staff(VIEW, TRAIN).post(TRAIN_URL, typed).context["form"].errors

    assert errors == {
        "n_clusters": ["Expected a whole number from 2 to 50."],
        "n_init": ["Expected a whole number from 1 to 100."],
        "random_state": ["Expected a whole number from 0 to 4,294,967,295."],
    }


@pytest.mark.parametrize(
    ("model_type", "field", "label"),
    [("dbscan", "n_clusters", "DBSCAN"), ("dbscan", "n_init", "DBSCAN"), ("kmeans", "eps", "K-")],
)
def test_train_refuses_a_parameter_of_the_other_type(
    trained: TrainedModels, model_type: str, field: str, label: str
) -> None:
    n_jobs = TrainingJob.objects.count()

    response = staff(VIEW, TRAIN).post(TRAIN_URL, {"model_type": model_type, field: "3"})

    errors = response.context["form"].errors
    assert list(errors) == [field]
    assert f"no parameter of {label}" in errors[field][0]
    assert TrainingJob.objects.count() == n_jobs


def test_train_takes_empty_fields_of_the_other_type(trained: TrainedModels) -> None:
    staff(VIEW, TRAIN).post(TRAIN_URL, {"model_type": "dbscan", "n_clusters": " ", "eps": "1.5"})

    assert TrainingJob.objects.latest("id").parameters == {"eps": 1.5}


def test_fields_that_the_page_hides_are_not_sent(trained: TrainedModels) -> None:
    page = staff(VIEW, TRAIN).get(TRAIN_URL).content.decode()

    for model_type in ("kmeans", "dbscan"):
        assert (
            f"""<fieldset x-show="type === '{model_type}'" """
            f"""x-bind:disabled="type !== '{model_type}'">"""
        ) in page


@pytest.mark.parametrize("permissions", [(), (VIEW,), (TRAIN,), (VIEW, ACTIVATE, JOBS)])
def test_train_needs_its_permission(db: None, permissions: tuple[str, ...]) -> None:
    client = staff(*permissions)

    assert client.get(TRAIN_URL).status_code == 403
    assert client.post(TRAIN_URL, {"model_type": "kmeans"}).status_code == 403
    assert not TrainingJob.objects.exists()


def test_a_failed_job_says_why_without_a_traceback(db: None) -> None:
    job = TrainingJob.objects.create(
        model_type="kmeans", queued_by="ann", state=JobState.FAILED, error="Too few.\nTraceback"
    )

    page = staff(JOBS).get(reverse("admin:modelregistry_trainingjob_change", args=[job.pk]))

    assert "Too few." in page.content.decode() and "Traceback" not in page.content.decode()


def test_a_job_whose_worker_is_gone_says_so(db: None) -> None:
    job = TrainingJob.objects.create(
        model_type="kmeans",
        queued_by="ann",
        state=JobState.RUNNING,
        heartbeat_at=timezone.now() - timezone.timedelta(minutes=5),
    )

    page = staff(JOBS).get(reverse("admin:modelregistry_trainingjob_change", args=[job.pk]))

    assert "no sign of life" in page.content.decode()


# -- jobs ---------------------------------------------------------------------------------------


def job_page(job: TrainingJob, verb: str = "change") -> str:
    return reverse(f"admin:modelregistry_trainingjob_{verb}", args=[job.pk])


def made_job(**fields: Any) -> TrainingJob:
    return TrainingJob.objects.create(model_type="kmeans", queued_by="bob", **fields)


def test_a_queued_job_is_cancelled_after_a_question(trained: TrainedModels) -> None:
    job, client = made_job(), staff(TRAIN, JOBS)
    assert job_page(job, "cancel") in client.get(job_page(job)).content.decode()
    question = client.get(job_page(job, "cancel")).content.decode()
    assert "Cancel the job" in question and "Back to the job" in question
    job.refresh_from_db()
    assert job.state == JobState.QUEUED, "asking changes nothing"
    before = last_entry_id()

    response = client.post(job_page(job, "cancel"), follow=True)

    page = response.content.decode()
    assert "Cancelled by ann." in page and "every 2s" not in page
    assert job_page(job, "cancel") not in page and job_page(job, "retry") in page
    (entry,) = entries_after(before)
    assert (entry.action, entry.actor_id) == ("training.cancelled", "ann")


def test_a_running_job_says_that_it_stops(trained: TrainedModels) -> None:
    job = made_job(state=JobState.RUNNING, heartbeat_at=timezone.now())

    page = staff(TRAIN, JOBS).post(job_page(job, "cancel"), follow=True).content.decode()

    assert f"Job {job.pk} was asked to stop." in page
    assert "Cancelled by ann. It stops at its next step." in page
    assert "every 2s" in page and job_page(job, "cancel") not in page


def test_a_failed_job_is_tried_again_once(trained: TrainedModels) -> None:
    job = made_job(state=JobState.FAILED, error="Too few.", parameters={"n_clusters": 3})
    client, before = staff(TRAIN, JOBS), last_entry_id()
    assert job_page(job, "retry") in client.get(job_page(job)).content.decode()

    response = client.post(job_page(job, "retry"))

    again = TrainingJob.objects.latest("id")
    assert response.headers["Location"] == job_page(again)
    assert (again.retry_of, again.parameters) == (job, {"n_clusters": 3})
    (entry,) = entries_after(before)
    assert (entry.action, entry.actor_id) == ("training.retried", "ann")
    assert f"job {job.pk}</a> again" in client.get(job_page(again)).content.decode()
    first = client.get(job_page(job)).content.decode()
    assert job_page(again) in first and job_page(job, "retry") not in first
    refused = client.post(job_page(job, "retry"))
    assert f"was retried as job {again.pk}" in refused.content.decode()


def test_what_is_over_is_not_cancelled_and_says_why(trained: TrainedModels) -> None:
    job = made_job(state=JobState.SUCCEEDED)

    client = staff(TRAIN, JOBS)
    asked = client.get(job_page(job, "cancel"), follow=True)
    response = client.post(job_page(job, "cancel"))

    assert asked.redirect_chain == [(job_page(job), 302)]
    assert "it is succeeded" in asked.content.decode()
    page = response.content.decode()
    assert response.status_code == 200 and "Cancel the job" not in page
    assert "cannot be cancelled: its state is succeeded." in page


@pytest.mark.parametrize("verb", ["cancel", "retry"])
@pytest.mark.parametrize("permissions", [(), (TRAIN,), (JOBS,), (VIEW, ACTIVATE, JOBS)])
def test_who_may_not_train_neither_cancels_nor_retries(
    db: None, permissions: tuple[str, ...], verb: str
) -> None:
    client = staff(*permissions)
    job = made_job(state=JobState.QUEUED if verb == "cancel" else JobState.FAILED)

    if JOBS in permissions:
        assert job_page(job, verb) not in client.get(job_page(job)).content.decode()
    for response in (client.get(job_page(job, verb)), client.post(job_page(job, verb))):
        assert response.status_code == 403
    job.refresh_from_db()
    assert (job.state, TrainingJob.objects.count()) in (
        (JobState.QUEUED, 1),
        (JobState.FAILED, 1),
    )


def test_a_job_that_nobody_takes_says_so(db: None) -> None:
    job = made_job(queued_at=timezone.now() - timezone.timedelta(minutes=5))

    assert "No worker has taken it" in staff(JOBS).get(job_page(job)).content.decode()


# -- activation and rollback --------------------------------------------------------------------


def test_activate_lets_the_version_serve_with_one_entry(trained: TrainedModels) -> None:
    candidate = make_version(parameters={"n_clusters": 3})
    client = staff(VIEW, ACTIVATE)
    before = last_entry_id()

    response = client.post(activate_url(candidate), confirmed(candidate))

    assert response.headers["Location"] == page_of(candidate)
    assert active_of() == candidate
    (entry,) = entries_after(before)
    assert (entry.action, entry.actor_id) == ("model_version.activated", "ann")
    assert Activation.objects.get(to_version=candidate).reason == "better segments"


def test_roll_back_restores_the_version_before(trained: TrainedModels) -> None:
    candidate = make_version(parameters={"n_clusters": 3}, active=True)
    client = staff(VIEW, ACTIVATE)
    before = last_entry_id()

    shown = client.get(page_of(candidate)).content.decode()
    response = client.post(roll_back_url(), confirmed(candidate))

    assert roll_back_url() in shown
    assert response.headers["Location"] == page_of(trained.kmeans)
    assert active_of() == trained.kmeans
    (entry,) = entries_after(before)
    assert entry.action == "model_version.rolled_back_to"


def test_asking_alone_moves_nothing(trained: TrainedModels) -> None:
    candidate = make_version(parameters={"n_clusters": 3})

    response = staff(VIEW, ACTIVATE).get(activate_url(candidate))

    assert response.status_code == 200
    assert active_of() == trained.kmeans


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_move_needs_a_reason(trained: TrainedModels, reason: str) -> None:
    candidate = make_version(parameters={"n_clusters": 3})

    response = staff(VIEW, ACTIVATE).post(
        activate_url(candidate), confirmed(candidate, reason=reason)
    )

    assert response.context["form"].errors["reason"]
    assert active_of() == trained.kmeans


@pytest.mark.parametrize("permissions", [(), (VIEW,), (ACTIVATE,), (VIEW, TRAIN)])
def test_moves_need_their_permission(trained: TrainedModels, permissions: tuple[str, ...]) -> None:
    candidate = make_version(parameters={"n_clusters": 3})
    make_active(version=candidate)
    client = staff(*permissions)

    for url in (activate_url(trained.kmeans), roll_back_url()):
        assert client.get(url).status_code == 403
        assert client.post(url, confirmed(candidate)).status_code == 403
    assert active_of() == candidate


def test_a_page_that_was_overtaken_moves_nothing(trained: TrainedModels) -> None:
    candidate = make_version(parameters={"n_clusters": 3})
    seen = confirmed(candidate)
    make_active(version=make_version(parameters={"n_clusters": 5}))
    winner = active_of()

    response = staff(VIEW, ACTIVATE).post(activate_url(candidate), seen, follow=True)

    assert response.redirect_chain == [(page_of(candidate), 302)]
    assert f"changed since this page was opened, and {winner} serves" in response.content.decode()
    assert active_of() == winner


@pytest.mark.parametrize("reason", ["segments are poor", ""])
def test_an_overtaken_rollback_offers_no_way_to_undo_the_other(
    trained: TrainedModels, reason: str
) -> None:
    candidate = make_version(parameters={"n_clusters": 3}, active=True)
    seen = confirmed(candidate, reason=reason)
    client = staff(VIEW, ACTIVATE)
    client.post(roll_back_url(), confirmed(candidate))

    response = client.post(roll_back_url(), seen, follow=True)

    page = response.content.decode()
    assert response.redirect_chain == [
        (reverse("admin:modelregistry_modelversion_changelist"), 302)
    ]
    assert "kmeans 1 serves now. Look and try again." in page
    assert f"Roll back to {candidate}" not in page
    assert active_of() == trained.kmeans


@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_active_is_not_offered_for_activation(trained: TrainedModels, method: str) -> None:
    client = staff(VIEW, ACTIVATE)

    response = getattr(client, method)(activate_url(trained.kmeans), confirmed(trained.kmeans))

    page = response.content.decode()
    assert response.status_code == 200
    assert "kmeans 1 is already active." in page
    assert ">Activate kmeans 1</button>" not in page and 'name="reason"' not in page


def test_a_damaged_artifact_is_refused_in_words(trained: TrainedModels) -> None:
    candidate = make_version(parameters={"n_clusters": 3})
    path = Path(settings.MODEL_DIR) / candidate.artifact
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])

    response = staff(VIEW, ACTIVATE).post(activate_url(candidate), confirmed(candidate))

    assert response.status_code == 200
    assert response.context["form"].non_field_errors()
    assert active_of() == trained.kmeans


def test_a_degenerate_version_needs_force(trained: TrainedModels) -> None:
    lump = make_version(model_type="dbscan", parameters={"eps": 1000.0, "min_samples": 5})
    assert lump.degenerate_reason
    client = staff(VIEW, ACTIVATE)

    refused = client.post(activate_url(lump), confirmed(lump))
    after_refusal = active_of("dbscan")
    client.post(activate_url(lump), confirmed(lump, force="on"))

    assert "degenerate" in refused.content.decode()
    assert after_refusal == trained.dbscan
    assert active_of("dbscan") == lump


def test_rolling_back_to_a_degenerate_version_needs_force(trained: TrainedModels) -> None:
    lump = make_version(model_type="dbscan", parameters={"eps": 1000.0, "min_samples": 5})
    make_active(version=lump)
    make_active(version=trained.dbscan)
    client, url = staff(VIEW, ACTIVATE), roll_back_url("dbscan")

    shown = client.get(url).content.decode()
    refused = client.post(url, confirmed(lump)).content.decode()
    after_refusal = active_of("dbscan")
    client.post(url, confirmed(lump, force="on"))

    assert "degenerate" in shown and 'name="force"' in shown
    assert "was not activated" in refused
    assert after_refusal == trained.dbscan
    assert active_of("dbscan") == lump
    assert Activation.objects.latest("id").forced


def test_an_ordinary_rollback_offers_no_force(trained: TrainedModels) -> None:
    make_version(active=True)

    assert 'name="force"' not in staff(VIEW, ACTIVATE).get(roll_back_url()).content.decode()


def test_a_rollback_shows_the_gates_and_is_not_stopped_by_them(
    trained: TrainedModels, settings: Any
) -> None:
    candidate = make_version(parameters={"n_clusters": 3}, active=True)
    settings.GATE_LIMITS = {**settings.GATE_LIMITS, "moved_share": 0.0}
    client, url = staff(VIEW, ACTIVATE), roll_back_url()

    shown = client.get(url).content.decode()
    client.post(url, confirmed(candidate))

    assert "would move to another segment; the limit is 0%" in shown
    assert 'name="force"' not in shown
    compare = reverse("admin:modelregistry_modelversion_compare", args=[trained.kmeans.pk])
    assert f'href="{compare}?with={candidate.number}"' in shown
    assert active_of() == trained.kmeans


def test_a_rollback_to_a_damaged_file_says_so_before_it_is_tried(trained: TrainedModels) -> None:
    make_version(parameters={"n_clusters": 3}, active=True)
    path = Path(settings.MODEL_DIR) / trained.kmeans.artifact
    path.write_bytes(path.read_bytes()[:-1])

    response = staff(VIEW, ACTIVATE).get(roll_back_url())

    assert response.status_code == 200
    assert "not the recorded size" in response.content.decode()


def test_rolling_back_without_a_version_before_says_so(trained: TrainedModels) -> None:
    client = staff(VIEW, ACTIVATE)

    response = client.post(roll_back_url(), confirmed(trained.kmeans), follow=True)

    assert "served before" in response.content.decode()
    assert active_of() == trained.kmeans


def test_unknown_versions_and_types_are_not_found(db: None) -> None:
    client: Client = staff(VIEW, ACTIVATE)
    versions = reverse("admin:modelregistry_modelversion_changelist")

    response = client.get(f"{versions}99/activate/", follow=True)

    assert "doesn’t exist" in response.content.decode()
    assert client.post(f"{versions}roll-back/forest/").status_code in (302, 404)


def test_the_ledger_shows_the_moves_and_takes_none(trained: TrainedModels) -> None:
    client = staff("modelregistry.view_activation")
    url = reverse("admin:modelregistry_activation_changelist")

    assert "kmeans 1" in client.get(url).content.decode()
    assert client.post(reverse("admin:modelregistry_activation_add")).status_code == 403
