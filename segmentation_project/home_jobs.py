"""Imports and trainings on the overview: those under way with their progress, and the latest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest

from modelregistry.models import JobState, TrainingJob
from segments import imports, jobs
from segments.models import ImportState

VIEW_IMPORTS, VIEW_JOBS = "segments.view_customerimport", "modelregistry.view_trainingjob"
PENDING = (JobState.QUEUED, JobState.RUNNING)
PENDING_IMPORTS = (ImportState.QUEUED, ImportState.RUNNING)
N_LATEST = 5
N_UNDER_WAY = 20


def may_see(request: HttpRequest) -> bool:
    """Whether there is anything for the person to see."""
    return request.user.has_perm(VIEW_IMPORTS) or request.user.has_perm(VIEW_JOBS)


def context(request: HttpRequest, *, at: datetime) -> dict[str, Any]:
    """What `home_jobs.html` shows of what the person may see."""
    shown: dict[str, Any] = {"is_under_way": False}
    if request.user.has_perm(VIEW_IMPORTS):
        shown["imports"] = found = _imports(at=at)
        shown["is_under_way"] |= any(each["is_pending"] for each in found)
    if request.user.has_perm(VIEW_JOBS):
        shown["jobs"] = found = _trainings(at=at)
        shown["is_under_way"] |= any(each["is_pending"] for each in found)
    return shown


def _imports(*, at: datetime) -> list[dict[str, Any]]:
    return [
        {
            "row": row,
            "percent": round(100 * row.progress),
            "is_pending": row.state in PENDING_IMPORTS,
            "notice": imports.notice_of(row, at=at) if row.state in PENDING_IMPORTS else "",
        }
        for row in imports.latest_imports(N_LATEST)
    ]


def _trainings(*, at: datetime) -> list[dict[str, Any]]:
    trainings = TrainingJob.objects.select_related("version")
    pending = trainings.filter(state__in=PENDING).order_by("queued_at", "pk")
    under_way = list(pending[:N_UNDER_WAY])
    ended = list(trainings.exclude(state__in=PENDING)[:N_LATEST])
    return [
        {
            "job": job,
            "percent": round(100 * job.progress),
            "is_pending": job.state in PENDING,
            # Those behind the first wait for it, and one look is enough.
            "notice": jobs.notice_of(job, at=at) if job in under_way[:1] else "",
        }
        for job in (*under_way, *ended)
    ]
