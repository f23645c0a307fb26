"""The overview: is anything wrong, what is to be done, and how everything stands.

Each figure is a query, and what the person may not see is not asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from modelregistry.activation import newest_candidates
from modelregistry.models import ActiveModel
from monitoring.alert_page import MOMENT
from monitoring.home_page import OpenAlerts, open_alerts
from monitoring.home_serving_page import serving_day
from monitoring.models import DriftReport, MonitoringPolicy
from monitoring.policy_page import first_check_words, may_check, state_words
from segmentation_project import home_jobs
from segmentation_project.home_guide import Step, guide
from segmentation_project.home_models import Served, card, segment_tables, served_versions
from segmentation_project.home_todo import BAD, INFO, WARN, Todo, todos
from segments.description_page import may_see_segments
from segments.models import Customer
from segments.sizes import stored_customers

N_LATEST = 5


def context(request: HttpRequest) -> dict[str, Any]:
    """What the template shows; a part that is missing is not shown."""
    at, may = timezone.now(), request.user.has_perm
    served = served_versions() if may("modelregistry.view_modelversion") else None
    alerts = open_alerts(at=at) if may("monitoring.view_alert") else None
    is_first_run = served is not None and not any(each.version for each in served)
    to_do = todos(request, served=served, alerts=alerts, is_first_run=is_first_run, at=at)
    shown: dict[str, Any] = {"at": at, "alerts": alerts, "todos": to_do}
    if may("segments.view_customer"):
        shown["customers"] = stored_customers(at=at)
        shown["last_customer"] = Customer.objects.order_by("-updated_at").only("updated_at").first()
    if served is not None:
        shown |= _models(request, served, at=at)
    if is_first_run:
        shown["guide"] = _guide(request)
    if may("monitoring.view_servinghour"):
        shown["serving"] = serving_day(at=at)
    if may("monitoring.view_driftreport"):
        shown |= _reports(request)
    if may("monitoring.view_monitoringpolicy"):
        shown["check_words"] = _check_words(at=at, is_first_run=is_first_run)
    return shown | home_jobs.context(request, at=at) | _state(request, to_do, served, alerts)


def _models(request: HttpRequest, served: Sequence[Served], *, at: datetime) -> dict[str, Any]:
    shown: dict[str, Any] = {"models": [card(request, each, at=at) for each in served]}
    if request.user.has_perm("segments.view_segment"):
        shown["sizes"] = segment_tables(served, with_links=may_see_segments(request), at=at)
    return shown


def _reports(request: HttpRequest) -> dict[str, Any]:
    """The latest; before the first one, when it comes and whether the person can have it now."""
    reports = list(DriftReport.objects.in_short()[:N_LATEST])
    if reports:
        return {"reports": reports}
    policy = MonitoringPolicy.shown()
    is_serving = ActiveModel.objects.filter(active__isnull=False).exists()
    return {
        "reports": [],
        "first_check_words": first_check_words(policy),
        "may_check": is_serving and may_check(request, policy),
    }


def _check_words(*, at: datetime, is_first_run: bool) -> str:
    policy = MonitoringPolicy.shown()
    if is_first_run and policy.last_started_at is None:
        return first_check_words(policy)
    return state_words(policy, at=at)


def _guide(request: HttpRequest) -> list[Step]:
    """Until a version serves; two queries."""
    return guide(
        request,
        has_customers=Customer.objects.exists(),
        candidate=next(iter(newest_candidates()), None),
    )


def _state(
    request: HttpRequest,
    to_do: Sequence[Todo],
    served: Sequence[Served] | None,
    alerts: OpenAlerts | None,
) -> dict[str, Any]:
    """Whether anything is wrong, in one sentence."""
    counts = Counter(each.style for each in to_do)
    if counts[BAD]:
        things = "thing needs" if counts[BAD] == 1 else "things need"
        return {"state_style": BAD, "state": f"{counts[BAD]} {things} you to act."}
    if counts[WARN]:
        things = "thing" if counts[WARN] == 1 else "things"
        return {
            "state_style": WARN,
            "state": f"Nothing is broken; look at {counts[WARN]} {things}.",
        }
    if served is None and alerts is None:
        return {}
    serving = [str(each.version) for each in served or () if each.version]
    parts = []
    if served is not None:
        serve = "serves" if len(serving) == 1 else "serve"
        parts.append(f"{' and '.join(serving)} {serve}" if serving else "no version serves yet")
    if alerts is not None:
        parts.append(_alert_words(alerts))
    words = f"{'; '.join(parts)}."
    if alerts is None:  # what was not looked at is not called well
        words = f"{words[:-1]}; whether an alert is open is not yours to see."
    if alerts is None or (served is not None and not serving):
        return {"state_style": INFO, "state": f"{words[0].upper()}{words[1:]}"}
    if alerts.n_firing:  # told of, but not over
        return {"state_style": INFO, "state": f"Nothing new to act on: {words}"}
    return {"state_style": "good", "state": f"All is well: {words}"}


def _alert_words(alerts: OpenAlerts) -> str:
    """How many alerts are open, and what was done about them."""
    if not alerts.n_firing:
        return "no alert is open"
    parts = []
    if n_acknowledged := alerts.n_firing - alerts.n_unnoted - alerts.n_silenced:
        parts.append(f"{n_acknowledged:,} acknowledged")
    if alerts.n_silenced:
        first = ", the first" if alerts.n_silenced > 1 else ""
        parts.append(
            f"{alerts.n_silenced:,} silenced{first} until {alerts.silenced_until:{MOMENT}}"
        )
    are = "alert is" if alerts.n_firing == 1 else "alerts are"
    return f"{alerts.n_firing:,} {are} open: {', '.join(parts)}"
