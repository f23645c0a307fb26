"""The page of one entry: its facts with links to what still exists, its details, its seal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from access.figures import figure
from access.models import ApiKey
from audit.entry_seal import SealState, seal_state
from audit.entry_words import changes_in, details_of, facts_in
from audit.models import ActorKind, AuditEntry
from audit.sealing_key import KeyRefused, trusted_keys
from modelregistry.models import ModelVersion, TrainingJob
from monitoring.models import Alert, DriftReport, MonitoringPolicy, Notification
from segments.models import Segment

MAX_DIGITS = 18
UNREADABLE = "unreadable"
"""In the place of a moment that is none."""


def by_number(model: type[Model]) -> Callable[[str], Model | None]:
    def find(name: str) -> Model | None:
        is_number = name.isascii() and name.isdigit() and len(name) <= MAX_DIGITS
        found: Model | None = (
            model._default_manager.filter(pk=int(name)).first() if is_number else None
        )
        return found

    return find


def version_named(name: str) -> Model | None:
    model_type, _, number = name.rpartition(" ")
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        return None
    return ModelVersion.objects.filter(model_type=model_type, number=int(number)).first()


# A customer is known to the trail by a keyed digest, which leads nobody back to them.
FINDERS: Mapping[str, Callable[[str], Model | None]] = {
    "model_version": version_named,
    "segment": by_number(Segment),
    "training_job": by_number(TrainingJob),
    "alert": by_number(Alert),
    "drift_report": by_number(DriftReport),
    "notification": by_number(Notification),
    "monitoring_policy": by_number(MonitoringPolicy),
    "api_key": lambda name: ApiKey.objects.filter(prefix=name).first(),
    "user": lambda name: User.objects.filter(username=name).first(),
    "group": lambda name: Group.objects.filter(name=name).first(),
}


def page_of_object(request: HttpRequest, kind: str, name: str) -> str:
    """The address of its page in the admin; empty when it is gone or not for this person."""
    found = FINDERS[kind](name) if kind in FINDERS and name else None
    if found is None:
        return ""
    meta = found._meta
    if not request.user.has_perm(f"{meta.app_label}.view_{meta.model_name}"):
        return ""
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[quote(found.pk)])


def entry_context(request: HttpRequest, entry: AuditEntry) -> dict[str, Any]:
    details = details_of(entry)
    return {
        "title": f"Audit entry {entry.pk}",
        "facts": facts(request, entry),
        "changes": changes_in(details),
        "more_facts": facts_in(details),
        "raw": raw(entry, details),
        "seal": seal_of_entry(entry),
    }


def facts(request: HttpRequest, entry: AuditEntry) -> list[tuple[str, Any]]:
    """Those that the entry has; links lead to pages that are there for this person."""
    kind, name, actor_id = entry.target_type, entry.target_id, entry.actor_id
    target = f"{kind.replace('_', ' ')} {name}".strip()
    actor = entry.actor_label or entry.get_actor_kind_display()
    actor_page = ""
    if entry.actor_kind in (ActorKind.USER, ActorKind.API_KEY):
        actor_page = page_of_object(request, entry.actor_kind, actor_id)
    pairs: list[tuple[str, Any]] = [
        ("At", entry.at.isoformat(" ", "milliseconds") if entry.at else UNREADABLE),
        ("Who", linked(actor_page, actor)),
        ("Kind of actor", entry.get_actor_kind_display()),
        ("Id of the actor", actor_id and linked(list_page(actor=actor_id), actor_id)),
        ("Action", linked(list_page(action=entry.action), entry.action)),
        ("On what", linked(page_of_object(request, kind, name), target)),
        ("Everything done to it", name and linked(
            list_page(target_type=kind, target=name), "the entries about it"
        )),
        ("Outcome", entry.get_outcome_display()),
        ("Status code", entry.status_code),
        ("Items", None if entry.n_items is None else figure(entry.n_items)),
        ("Request id", entry.request_id and linked(
            list_page(request_id=entry.request_id), entry.request_id
        )),
        ("Peer address", entry.peer_address),
        ("Address", entry.address),
        ("Took", None if entry.duration_ms is None else f"{figure(entry.duration_ms)} ms"),
    ]  # fmt: skip
    return [(name, value) for name, value in pairs if value not in (None, "")]


def list_page(**filters: str) -> str:
    return f"{reverse('admin:audit_auditentry_changelist')}?{urlencode(filters)}"


def linked(page: str, words: str) -> str:
    return format_html('<a href="{}">{}</a>', page, words) if page else words


def raw(entry: AuditEntry, details: Mapping[str, Any]) -> str:
    if "unreadable" in details:
        return entry.details
    return json.dumps(details, indent=2, ensure_ascii=False)


def seal_of_entry(entry: AuditEntry) -> SealState:
    try:
        keys = trusted_keys(settings.AUDIT_PUBLIC_KEYS)
    except KeyRefused:  # without a key nothing is trusted, and the state says so
        keys = {}
    return seal_state(entry, keys=keys)
