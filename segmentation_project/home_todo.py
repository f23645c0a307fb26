"""What somebody should do now, the worst first; each with where to do it.

What an open alert already tells of is not told twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from modelregistry.activation import newest_candidates
from modelregistry.artifact_check import known_problem
from modelregistry.models import JobState, ModelType, TrainingJob
from monitoring.channels import Channels
from monitoring.home_page import OpenAlerts
from monitoring.models import AlertKind, MonitoringPolicy
from monitoring.policy_page import next_check_at, state_words
from monitoring.schedule import RUNNING, problem_of
from segmentation_project.home_jobs import VIEW_IMPORTS
from segmentation_project.home_models import Served
from segments.imports import latest_imports
from segments.models import ImportState

BAD, WARN, INFO = "bad", "warn", "info"
LABELS = {BAD: "act", WARN: "look", INFO: "consider"}
CANDIDATE_WAITS = timedelta(days=30)
"""After that a candidate was passed over."""
LATE = timedelta(minutes=30)
"""A check that is due for longer is not only waiting for the one before it."""
MAX_PROBLEM = 300


@dataclass(frozen=True, slots=True)
class Todo:
    style: str
    text: str
    url: str = ""
    button: str = ""

    @property
    def label(self) -> str:
        return LABELS[self.style]


def todos(
    request: HttpRequest,
    *,
    served: Sequence[Served] | None,
    alerts: OpenAlerts | None,
    is_first_run: bool,
    at: datetime,
) -> list[Todo]:
    """What the person may see of it; on a first run the guide says what to do about models."""
    may = request.user.has_perm
    told = alerts.about if alerts else frozenset()
    found = [*_alerts(alerts)] if alerts else []
    if served is not None and not is_first_run:
        found += _damaged(served, told)
        found += _models(request, served, at=at)
    if may("modelregistry.view_trainingjob"):
        found += _failed_trainings(told)
    if may(VIEW_IMPORTS):
        found += _failed_import()
    if may("monitoring.view_monitoringpolicy"):
        policy = MonitoringPolicy.shown()
        is_serving = served is None or any(each.version for each in served)
        found += _overdue_trainings(served or (), policy, told, at=at)
        found += _checks(policy, told, is_serving=is_serving, at=at)
        found += _channels(request)
    return sorted(found, key=lambda each: list(LABELS).index(each.style))


def _alerts(alerts: OpenAlerts) -> Iterator[Todo]:
    shown = [each for each in alerts.worst if each.state == "firing"]
    for each in shown:
        url = reverse("admin:monitoring_alert_change", args=[each.alert.pk])
        seen = f"{each.alert.last_seen_at:%d %b %Y %H:%M}"
        yield Todo(BAD, f"{each.alert.title}. Last seen {seen}.", url, "See the alert")
    if n_more := alerts.n_unnoted - len(shown):
        url = reverse("admin:monitoring_alert_changelist")
        are = "alert is" if n_more == 1 else "alerts are"
        yield Todo(BAD, f"{n_more:,} more {are} open.", url, "See all")


def _damaged(served: Sequence[Served], told: frozenset[tuple[str, str]]) -> Iterator[Todo]:
    for each in served:
        version = each.version
        if version is None or (AlertKind.DAMAGED_ARTIFACT.value, version.model_type) in told:
            continue
        if problem := known_problem(version, directory=settings.MODEL_DIR):
            url = reverse("admin:modelregistry_modelversion_change", args=[version.pk])
            words = f"The file of {version} is damaged: {problem}"
            yield Todo(BAD, words[:MAX_PROBLEM], f"{url}#artifact", "See the file")


def _models(request: HttpRequest, served: Sequence[Served], *, at: datetime) -> Iterator[Todo]:
    candidates = {version.model_type: version for version in newest_candidates()}
    for each in served:
        name = each.pointer.get_model_type_display()
        candidate = candidates.get(each.pointer.model_type)
        if each.version is not None and each.version.degenerate_reason:
            url = reverse("admin:modelregistry_modelversion_change", args=[each.version.pk])
            words = f"{each.version} serves and is degenerate: {each.version.degenerate_reason}"
            yield Todo(BAD, words, url, f"See {each.version}")
        if candidate is not None and (
            each.version is None or at - candidate.trained_at <= CANDIDATE_WAITS
        ):
            url = reverse("admin:modelregistry_modelversion_change", args=[candidate.pk])
            words = (
                f"{candidate} was trained {candidate.trained_at:%d %b %Y} and waits for a decision"
            )
            if each.version is None:
                words += f": no {name} version serves, and predictions are answered with 503"
            if reason := candidate.degenerate_reason:
                words += f". It is degenerate: {reason.rstrip('.')}"
            style = WARN if each.version is None else INFO
            yield Todo(style, f"{words}.", url, f"See {candidate}")
        elif each.version is None:
            may_train = request.user.has_perm("modelregistry.train_modelversion")
            url = reverse("admin:modelregistry_modelversion_train") if may_train else ""
            words = f"{name} has no active version: its predictions are answered with 503."
            yield Todo(WARN, words, url, "Train a model")


def _failed_trainings(told: frozenset[tuple[str, str]]) -> Iterator[Todo]:
    """The latest training of a type that ended failed, unless another is under way; two queries."""
    for model_type in ModelType.values:
        if (AlertKind.TRAINING_FAILED.value, model_type) in told:
            continue
        jobs = TrainingJob.objects.filter(model_type=model_type)
        job = jobs.exclude(state=JobState.CANCELLED).order_by("-queued_at", "-pk").first()
        if job is not None and job.state == JobState.FAILED:
            url = reverse("admin:modelregistry_trainingjob_change", args=[job.pk])
            yield Todo(BAD, f"Training job {job.pk} of {model_type} failed.", url, "See why")


def _failed_import() -> Iterator[Todo]:
    """The latest import, if it failed; one query."""
    for row in latest_imports(1):
        if row.state == ImportState.FAILED:
            url = reverse("admin:segments_customerimport_change", args=[row.pk])
            yield Todo(WARN, f"Import {row.pk} of {row.file_name} failed.", url, "See why")


def _overdue_trainings(
    served: Sequence[Served],
    policy: MonitoringPolicy,
    told: frozenset[tuple[str, str]],
    *,
    at: datetime,
) -> Iterator[Todo]:
    limit = policy.retrain_after_days
    for each in served:
        version = each.version
        if version is None or (AlertKind.TRAINING_OVERDUE.value, version.model_type) in told:
            continue
        n_days = (at - version.trained_at).days
        if limit and n_days >= limit:
            url = reverse("admin:modelregistry_modelversion_change", args=[version.pk])
            words = f"{version} was trained {n_days:,} days ago; the limit is {limit:,} days."
            yield Todo(WARN, words, url, f"See {version}")


def _checks(
    policy: MonitoringPolicy,
    told: frozenset[tuple[str, str]],
    *,
    is_serving: bool,
    at: datetime,
) -> Iterator[Todo]:
    url = reverse("admin:monitoring_monitoringpolicy_change", args=[1])
    problem, due = problem_of(policy), next_check_at(policy)
    if problem and (AlertKind.CHECK_FAILED.value, "") not in told:
        yield Todo(BAD, f"The last check failed: {problem[:MAX_PROBLEM]}", url, "See the policy")
    elif policy.is_paused:
        yield Todo(WARN, "Checks are paused: drift goes unnoticed.", url, "See the policy")
    elif policy.last_error == RUNNING or not is_serving:
        return
    elif policy.last_started_at is None:
        yield Todo(
            INFO,
            f"Customers were not checked yet. {state_words(policy, at=at)}",
            url,
            "See the policy",
        )
    elif due is not None and at - due > LATE:
        words = f"The check that was due {due:%d %b %H:%M} did not begin: is the monitor running?"
        yield Todo(WARN, words, url, "See the policy")


def _channels(request: HttpRequest) -> Iterator[Todo]:
    channels = Channels.of(settings)
    if not channels.mails and not channels.posts:
        words = (
            "Nobody is told of alerts: neither SMTP_SERVER and ALERT_EMAIL nor WEBHOOK_URL is set."
        )
        may_see = request.user.has_perm("access.view_settings")
        yield Todo(INFO, words, reverse("admin:settings") if may_see else "", "See the settings")
