"""One check: customers compared with the reference of the active version, and what follows of it.

Report, the customers it was made of, quality, alerts, their digest and the audit entry are written
in one transaction; reading customers and all model work come before it. One engine for the API,
`check_drift` and the schedule; only the caller decides who is current.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.db import transaction

from audit import trail
from audit.models import Outcome
from ml.drift import DriftResult
from modelregistry import activation
from modelregistry.activation import NoActiveVersion
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import ModelVersion
from monitoring import alerts, drift_inputs, outbox, performance
from monitoring.alerts import Condition
from monitoring.artifact_watch import artifact_condition
from monitoring.channels import Channels
from monitoring.current_customers import (
    Current,
    Customers,
    WrongCustomers,
    of_stored,
    read,
    require_features,
    window_start,
)
from monitoring.drift_alerts import YEAR, observe_drift
from monitoring.drift_inputs import Arguments
from monitoring.models import (
    Alert,
    DriftReport,
    MonitoringPolicy,
    Notification,
    QualityPoint,
    Verdict,
)
from segments.assignment import SegmentLabels
from segments.erasure_words import NO_WORDS, Words

AUDIT_ACTION = "drift.checked"
WRONG_CUSTOMERS = "wrong-customers"
"""The code of a refusal; those of other failures are no fault of who asked."""
KEY_PURPOSE = b"customer digests"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTerms:
    """What every check of an installation is given.

    Attributes
    ----------
    threshold : family-wise significance level of one check, in (0, 1)
    default_hours : hours between checks where staff set none
    directory : where artifacts are
    key : of the digests that customers are found again by
    channels : whom alerts are told to
    """

    threshold: float
    default_hours: int
    directory: Path
    key: bytes = field(repr=False)
    channels: Channels

    @classmethod
    def of(cls, settings: Any) -> Self:
        return cls(
            threshold=settings.DRIFT_THRESHOLD,
            default_hours=settings.MONITORING_INTERVAL,
            directory=settings.MODEL_DIR,
            key=digest_key(settings.SECRET_KEY),
            channels=Channels.of(settings),
        )


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """Why a model type could not be checked; `version` where its artifact is the reason."""

    model_type: str
    code: str
    detail: str
    version: ModelVersion | None


@dataclass(frozen=True, slots=True)
class CheckRun:
    """What one run checked, what it could not, and what changed by it."""

    reports: Sequence[DriftReport]
    failures: Sequence[CheckFailure]
    alerts: Sequence[Alert]
    notifications: Sequence[Notification]


@dataclass(frozen=True, slots=True)
class _Compared:
    """A comparison that is made and not yet stored."""

    version: ModelVersion
    customers: Customers
    current: Current
    arguments: Arguments
    result: DriftResult
    report: dict[str, Any]
    quality: QualityPoint | None


def digest_key(secret: str) -> bytes:
    """The key of digests, which says nothing of the secret it is derived from."""
    return hashlib.blake2b(secret.encode(), digest_size=32, person=KEY_PURPOSE).digest()


def forget_customers(customer_ids: Sequence[str], words: Words = NO_WORDS) -> int:
    """Drop customers from all that reports were made of; returns the number of rows dropped."""
    return drift_inputs.forget(customer_ids, key=digest_key(settings.SECRET_KEY))


def check_drift(
    model_type: str,
    customers: Customers | None = None,
    *,
    terms: CheckTerms,
    by: trail.Actor,
    at: datetime,
    with_quality: bool = False,
    with_mail: bool = True,
) -> DriftReport:
    """Check the active version of a type with the given customers, or the recent stored ones.

    A value of the wrong kind counts as missing: it is a signal here, not an input error. Quality
    needs scikit-learn, so not in a web process. Raises `NoActiveVersion`, `DamagedArtifact`, or
    `WrongCustomers` for given ones without most of the features.
    """
    policy = MonitoringPolicy.current()
    made = _compare(model_type, customers, terms, policy, at=at, with_quality=with_quality)
    return _store([made], [], terms, policy, by=by, at=at, with_mail=with_mail).reports[0]


def check_all(
    model_types: Sequence[str],
    customers: Customers | None = None,
    *,
    terms: CheckTerms,
    by: trail.Actor,
    at: datetime,
    with_mail: bool = True,
) -> CheckRun:
    """Check several types with quality; one that cannot be checked does not keep the others."""
    policy = MonitoringPolicy.current()
    made, failures = [], []
    for model_type in model_types:
        try:
            made.append(_compare(model_type, customers, terms, policy, at=at, with_quality=True))
        except NoActiveVersion as error:
            failures.append(CheckFailure(model_type, "no-active-version", str(error), None))
        except DamagedArtifact as error:
            version = activation.active_version(model_type)
            failures.append(CheckFailure(model_type, "damaged-artifact", str(error), version))
        except WrongCustomers as error:
            failures.append(CheckFailure(model_type, WRONG_CUSTOMERS, str(error), None))
    return _store(made, failures, terms, policy, by=by, at=at, with_mail=with_mail)


def _compare(
    model_type: str,
    customers: Customers | None,
    terms: CheckTerms,
    policy: MonitoringPolicy,
    *,
    at: datetime,
    with_quality: bool,
) -> _Compared:
    """All reading and model work. One finding alone is drift at the threshold shared among the
    checks of a year; a weaker one is a warning, and drift when the check before warned of it."""
    version = activation.active_version(model_type)
    model = activation.load(version, directory=terms.directory)
    interval = policy.interval(default_hours=terms.default_hours)
    if customers is None:
        customers = of_stored(window_start(version, at=at, interval=interval))
    current = read(customers, model.encoder, key=terms.key)
    require_features(current, customers, version)
    before = at - interval / 2
    arguments = Arguments(
        threshold=terms.threshold,
        checks_per_year=max(1.0, YEAR / interval),
        previous_subjects=tuple(previous_subjects(version, customers.source, before=before)),
        floors=policy.floors,
        days_since_training=max(0, (at.date() - model.encoder.schema.as_of).days),
        unreadable=current.unreadable,
        labels=SegmentLabels.of(version),
        random_state=int(version.parameters.get("random_state", 0)),
    )
    scored = drift_inputs.scored_by(model, current.raw, random_state=arguments.random_state)
    result, report = drift_inputs.compared(model, current.raw, scored, arguments)
    quality = None
    if with_quality:
        watch = performance.Watch(
            threshold=arguments.threshold,
            checks_per_year=arguments.checks_per_year,
            warned_before=performance.warned_before(
                version, source=customers.source, before=before
            ),
        )
        quality = performance.measure(
            version,
            model,
            current.raw,
            scored,
            arguments.labels,
            watch=watch,
            with_stability=True,
            at=at,
        )
    return _Compared(version, customers, current, arguments, result, report, quality)


@transaction.atomic
def _store(
    made: Sequence[_Compared],
    failures: Sequence[CheckFailure],
    terms: CheckTerms,
    policy: MonitoringPolicy,
    *,
    by: trail.Actor,
    at: datetime,
    with_mail: bool,
) -> CheckRun:
    reports = []
    changed = alerts.resolve_superseded(at=at, by=by)
    conditions: list[Condition] = []
    for each in made:
        report = _store_one(each, terms, policy, by=by, at=at)
        reports.append(report)
        changed += observe_drift(report, policy=policy, at=at, by=by)
        conditions.append(artifact_condition(each.version, problem=""))
        # Of drifted customers the drift alert tells; that they fit less well comes of it.
        if each.quality is not None and report.verdict != Verdict.DRIFT:
            conditions.append(performance.quality_condition(each.quality, report=report))
    for failure in failures:
        _record_failure(failure, by=by)
        if failure.version is not None:
            conditions.append(artifact_condition(failure.version, problem=failure.detail))
    changed += alerts.observe(conditions, policy=policy, at=at, by=by)
    queued = outbox.queue_digest(at=at, channels=terms.channels) if with_mail else []
    return CheckRun(reports, failures, changed, queued)


def _store_one(
    made: _Compared,
    terms: CheckTerms,
    policy: MonitoringPolicy,
    *,
    by: trail.Actor,
    at: datetime,
) -> DriftReport:
    report = DriftReport.objects.create(
        model_type=made.version.model_type,
        version=made.version,
        verdict=made.result.verdict,
        summary=made.result.summary,
        source=made.customers.source,
        since=made.customers.since,
        n_reference=made.result.n_reference,
        n_seen=made.current.n_seen,
        n_current=made.result.n_current,
        threshold=made.result.threshold,
        arguments=made.arguments.to_dict(),
        report=made.report,
        created_at=at,
        created_by=by.label,
    )
    if policy.keep_inputs_days:
        drift_inputs.keep(report, drift_inputs.packed(made.current, key=terms.key))
    if made.quality is not None:
        made.quality.report = report
        made.quality.save()
    trail.record(
        AUDIT_ACTION,
        by=by,
        target=("drift_report", report.pk),
        n_items=report.n_current,
        details={
            "version": str(made.version),
            "verdict": report.verdict,
            "source": report.source,
            "n_seen": report.n_seen,
        },
    )
    return report


def _record_failure(failure: CheckFailure, *, by: trail.Actor) -> None:
    trail.record(
        AUDIT_ACTION,
        by=by,
        target=("model_type", failure.model_type),
        outcome=Outcome.REFUSED if failure.code == WRONG_CUSTOMERS else Outcome.FAILED,
        details={"code": failure.code},
    )


def previous_subjects(version: ModelVersion, source: str, *, before: datetime) -> list[str]:
    """What the last check of the same kind found, if it was of other customers.

    A check soon after another sees much the same customers and confirms nothing.
    """
    last = (
        DriftReport.objects.filter(version=version, source=source, created_at__lte=before)
        .exclude(verdict=Verdict.INSUFFICIENT_DATA)
        .order_by("-created_at", "-id")
        .first()
    )
    return [] if last is None else list(last.report.get("subjects", []))
