"""Daily checks of a made-up shop by the real engine, without training through the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from ml.drift import ReferenceProfile, compare
from ml.encoder import FeatureEncoder
from ml.fitting import fit_clusters
from ml.held_out import score_held_out
from ml.schema_learning import learn_schema
from ml.scored import score
from modelregistry.models import ModelVersion
from monitoring.drift_alerts import observe_drift
from monitoring.models import Alert, DriftReport, MonitoringPolicy
from segments.demo_shop import demo_customers
from tests.factories import BY

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, 6, tzinfo=UTC)
COLUMNS = ["age", "recency_days", "orders", "total_spend", "average_basket", "channel"]
Records = list[dict[str, Any]]
Change = Callable[[Records], Records]


def unchanged(records: Records) -> Records:
    return records


def scaled(column: str, factor: float) -> Change:
    return lambda records: [each | {column: each[column] * factor} for each in records]


def dearer(factor: float) -> Change:
    """A price rise: what follows from a price moves with it."""
    return lambda records: [
        each | {name: round(each[name] * factor, 2) for name in ("average_basket", "total_spend")}
        for each in records
    ]


def without(column: str, *, one_in: int = 1) -> Change:
    return lambda records: [
        each | ({column: None} if place % one_in == 0 else {}) for place, each in enumerate(records)
    ]


def with_level(column: str, level: str, *, one_in: int) -> Change:
    return lambda records: [
        each | ({column: level} if place % one_in == 0 else {})
        for place, each in enumerate(records)
    ]


def both(*changes: Change) -> Change:
    def change(records: Records) -> Records:
        for each in changes:
            records = each(records)
        return records

    return change


class Shop:
    """A version's reference, and what its model says of customers."""

    def __init__(self, *, n_customers: int = 2_000) -> None:
        reference = self.frame(demo_customers(n_customers, 7))
        self.schema = learn_schema(reference, as_of=date(2026, 1, 1))
        self.encoder = FeatureEncoder(self.schema)
        raw = self.encoder.raw_from_frame(reference)
        X = self.encoder.encode(raw)
        fit = fit_clusters("kmeans", X, parameters={"n_clusters": 5, "n_init": 1})
        self.model = fit.model
        self.profile = ReferenceProfile.fit(
            self.schema, raw, score_held_out(X, fit), fitted=fit.labels
        )

    @staticmethod
    def frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        return pd.DataFrame(records)[COLUMNS]

    def read(self, records: Records) -> tuple[Any, Any]:
        raw = self.encoder.raw_from_records(records, strict=False)
        return raw, score(self.encoder, self.model, raw, random_state=0)

    def outside(self, segment: int) -> Change:
        """Leave out the customers of one segment."""

        def change(records: Records) -> Records:
            labels = self.read(records)[1].labels
            return [each for each, label in zip(records, labels, strict=True) if label != segment]

        return change


class Days:
    """One check a day of one version, each of other customers, with its alerts."""

    def __init__(self, shop: Shop, *, n_customers: int = 800, seed: int = 0) -> None:
        self.shop, self.n_customers, self.seed = shop, n_customers, seed
        self.day = 0
        self.subjects: Sequence[str] = ()
        self.policy = MonitoringPolicy.current()
        self.version = make_bare_version()

    @property
    def at(self) -> datetime:
        return START + self.day * DAY

    def check(self, change: Change = unchanged, *, source: str = "stored") -> DriftReport:
        self.day += 1
        records = change(demo_customers(self.n_customers, 10_000 * (self.seed + 1) + self.day))
        result = compare(
            self.shop.profile,
            *self.shop.read(records),
            threshold=0.05,
            checks_per_year=365,
            previous_subjects=self.subjects,
        )
        if result.reason is None:
            self.subjects = result.subjects
        report = make_report(self.version, result.to_dict(), at=self.at, source=source)
        observe_drift(report, policy=self.policy, at=self.at, by=BY)
        return report

    def checks(self, n: int, change: Change = unchanged) -> None:
        for _ in range(n):
            self.check(change)

    @property
    def fired(self) -> list[Alert]:
        return list(Alert.objects.filter(fired_at__isnull=False).order_by("pk"))

    @property
    def open(self) -> list[Alert]:
        return list(Alert.objects.unresolved().order_by("pk"))


def make_bare_version(*, number: int = 1, model_type: str = "kmeans") -> ModelVersion:
    """A row of the registry without an artifact behind it."""
    return ModelVersion.objects.create(
        model_type=model_type,
        number=number,
        stage="trained",
        n_customers=3_000,
        artifact=f"{model_type}-{number}",
        artifact_sha256="0" * 64,
        artifact_bytes=1,
        trained_by="tests",
    )


def make_report(
    version: ModelVersion,
    result: dict[str, Any],
    *,
    at: datetime,
    source: str = "stored",
    checks_per_year: float = 365,
) -> DriftReport:
    """Store a result of the engine, each cluster as the segment of its number."""
    named = {
        key: [
            {"segment": shift["cluster"], "segment_name": f"Group {shift['cluster']}", **shift}
            for shift in result[key]
        ]
        for key in ("segments", "inside")
    }
    return DriftReport.objects.create(
        model_type=version.model_type,
        version=version,
        verdict=result["verdict"],
        summary=result["summary"],
        source=source,
        n_reference=result["n_reference"],
        n_seen=result["n_current"],
        n_current=result["n_current"],
        threshold=result["threshold"],
        arguments={"checks_per_year": checks_per_year},
        report={**result, **named},
        created_at=at,
        created_by="tests",
    )


def finding(
    feature: str | None,
    check: str = "distribution",
    *,
    other: str | None = None,
    effect: float = 0.3,
    p_adjusted: float = 1e-9,
    n_current: int = 1_000,
) -> dict[str, Any]:
    """One check that shows drift, as a report holds it."""
    return {
        "feature": feature,
        "other": other,
        "check": check,
        "test": "anderson-darling",
        "n_reference": 2_000,
        "n_current": n_current,
        "p_value": p_adjusted / 30,
        "p_adjusted": p_adjusted,
        "weight": 1 / 30,
        "effect": effect,
        "effect_name": "largest gap between cumulative shares",
        "floor": 0.025,
        "drifted": True,
        "sentence": f"{feature or 'Segments'}: {check} moved",
    }


def quiet(feature: str, check: str = "distribution", **fields: Any) -> dict[str, Any]:
    """One check that shows none."""
    found = finding(feature, check, effect=0.01, p_adjusted=1.0)
    return found | {"drifted": False} | fields


def result_of(
    *checks: Mapping[str, Any],
    verdict: str = "",
    segments: Sequence[Mapping[str, Any]] = (),
    n_current: int = 1_000,
) -> dict[str, Any]:
    """What the engine answers, as far as alerts read it: drift where one finding alone is."""
    findings = [check for check in checks if check["drifted"]]
    is_sure = any(check["p_adjusted"] <= 1e-4 and not check["other"] for check in findings)
    by_itself = ("drift" if is_sure else "warning") if findings else "ok"
    return {
        "verdict": verdict or by_itself,
        "summary": "As the test says.",
        "threshold": 0.05,
        "alarm_threshold": 1e-4,
        "n_reference": 2_000,
        "n_current": n_current,
        "n_scored": n_current,
        "findings": findings,
        "checks": list(checks),
        "segments": list(segments),
        "inside": [],
        "tables": [],
    }
