"""What monitoring keeps: drift reports, quality, serving figures, alerts and their delivery."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.fields.json import KeyTransform

from ml.drift import Floors
from modelregistry.models import ModelType, ModelVersion

FLOORS = Floors()
SHARE = [MinValueValidator(0.0), MaxValueValidator(1.0)]


class Verdict(models.TextChoices):
    OK = "ok", "No drift"
    WARNING = "warning", "Warning"
    DRIFT = "drift", "Drift"
    INSUFFICIENT_DATA = "insufficient_data", "Insufficient data"


class Source(models.TextChoices):
    REQUEST = "request", "Customers sent over the API"
    STORED = "stored", "Stored customers"
    CHOSEN = "chosen", "Stored customers since a chosen moment"
    FILE = "file", "A file"


class DriftReportQuerySet(models.QuerySet["DriftReport"]):
    def in_short(self) -> DriftReportQuerySet:
        """Reports with their `findings`, and without the many figures behind them."""
        return (
            self.select_related("version")
            .only(
                *("model_type", "verdict", "summary", "source", "since", "threshold"),
                *("n_reference", "n_seen", "n_current", "created_at", "created_by"),
                *("version__model_type", "version__number"),
            )
            .annotate(findings=KeyTransform("findings", "report"))
        )


class DriftReport(models.Model):
    """One comparison with its verdict; `report` holds every statistic behind it.

    `arguments` holds what the comparison was given beside the customers, and `DriftInput` the
    customers, so that it can be made again to the last bit.
    """

    model_type = models.CharField(max_length=16, choices=ModelType)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=20, choices=Verdict)
    summary = models.TextField()
    source = models.CharField(max_length=10, choices=Source)
    since = models.DateTimeField(
        null=True, blank=True, help_text="From when on stored customers were looked at."
    )
    n_reference = models.PositiveBigIntegerField()
    n_seen = models.PositiveBigIntegerField(help_text="Customers there were to compare.")
    n_current = models.PositiveBigIntegerField(help_text="Customers of these that were compared.")
    threshold = models.FloatField()
    arguments = models.JSONField(default=dict)
    report = models.JSONField()
    created_at = models.DateTimeField(db_index=True)
    created_by = models.CharField(max_length=200)

    objects = DriftReportQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        default_permissions = ("view",)
        permissions = [("run_driftcheck", "Can check customers for drift, and compute again")]
        indexes = [models.Index(fields=["version", "-created_at"], name="drift_version")]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} for {self.version}"


class DriftInput(models.Model):
    """The current customers of one report as the engine saw them, until they are thinned out.

    `content` is compressed safetensors: a float64 column a feature, and for each row a keyed digest
    of the customer's id, by which an erased customer is found.
    """

    report = models.OneToOneField(
        DriftReport, on_delete=models.CASCADE, primary_key=True, related_name="input"
    )
    content = models.BinaryField()
    n_rows = models.PositiveBigIntegerField()
    n_erased = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"input of drift report {self.report_id}"


class QualityPoint(models.Model):
    """How well one version segments the customers of one check: a point of its series."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="quality")
    report = models.ForeignKey(
        DriftReport, on_delete=models.SET_NULL, null=True, blank=True, related_name="quality"
    )
    measured_at = models.DateTimeField()
    n_customers = models.PositiveBigIntegerField()
    silhouette = models.FloatField(null=True)
    silhouette_se = models.FloatField(null=True, help_text="Standard error of the silhouette.")
    n_silhouette = models.PositiveIntegerField(default=0, help_text="Customers in its sample.")
    silhouette_z = models.FloatField(
        null=True, help_text="Its change since training in standard errors."
    )
    davies_bouldin = models.FloatField(null=True)
    calinski_harabasz = models.FloatField(null=True)
    inertia_per_customer = models.FloatField(null=True)
    noise_share = models.FloatField()
    stability = models.FloatField(
        null=True, help_text="Mean adjusted Rand index with refits on bootstraps."
    )
    shares = models.JSONField(default=dict, help_text="Share of customers by segment id.")
    level = models.CharField(max_length=10, help_text="ok, warning, alarm or unknown.")
    sentence = models.TextField()

    class Meta:
        ordering = ["-measured_at", "-id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["version", "-measured_at"], name="quality_version")]

    def __str__(self) -> str:
        return f"quality of {self.version} at {self.measured_at:%Y-%m-%d %H:%M}"


class ServingHour(models.Model):
    """Calls of `POST /predict` in one hour, summed up from the audit trail.

    `version_number` is 0 for calls that no version answered. `latencies` counts answers by the
    upper bound of their bucket in milliseconds. The row whose hour is the epoch sums up all hours.
    """

    model_type = models.CharField(max_length=16, choices=ModelType)
    version_number = models.PositiveIntegerField()
    hour = models.DateTimeField(help_text="Its start.")
    n_requests = models.PositiveBigIntegerField(default=0)
    n_customers = models.PositiveBigIntegerField(default=0)
    n_refused = models.PositiveBigIntegerField(default=0)
    n_failed = models.PositiveBigIntegerField(default=0)
    latency_ms_sum = models.FloatField(default=0.0)
    latencies = models.JSONField(default=dict)

    class Meta:
        ordering = ["-hour", "model_type", "-version_number"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["model_type", "version_number", "hour"], name="serving_hour"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_type} {self.version_number} at {self.hour:%Y-%m-%d %H}"


class ServingMark(models.Model):
    """One row: up to which entry of the trail `ServingHour` has summed."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    audit_id = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_serving_mark")]

    def __str__(self) -> str:
        return f"up to audit entry {self.audit_id}"


class AlertKind(models.TextChoices):
    DRIFT = "drift", "Drift"
    QUALITY = "quality", "Quality loss"
    MISSING_DATA = "missing_data", "Missing data"
    TRAINING_FAILED = "training_failed", "Training failed"
    TRAINING_OVERDUE = "training_overdue", "Training overdue"
    DAMAGED_ARTIFACT = "damaged_artifact", "Damaged artifact"
    CHECK_FAILED = "check_failed", "Check failed"
    DELIVERY = "delivery", "Alerts not delivered"
    SEALING = "sealing", "Audit trail not sealed"


class AlertState(models.TextChoices):
    PENDING = "pending", "Pending: not yet confirmed"
    FIRING = "firing", "Firing"
    RESOLVED = "resolved", "Resolved"


class AlertQuerySet(models.QuerySet["Alert"]):
    def unresolved(self) -> AlertQuerySet:
        return self.exclude(state=AlertState.RESOLVED)


class Alert(models.Model):
    """A condition that a person should act on, from the first sign of it to its end.

    `key` names what is wrong with what: at most one alert of a key is unresolved. `subjects` are
    the features, or the segments, that a drift alert is about.
    """

    kind = models.CharField(max_length=20, choices=AlertKind)
    key = models.CharField(max_length=300)
    state = models.CharField(max_length=10, choices=AlertState, default=AlertState.PENDING)
    model_type = models.CharField(max_length=16, choices=ModelType, blank=True)
    version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    report = models.ForeignKey(
        DriftReport, on_delete=models.SET_NULL, null=True, blank=True, related_name="alerts"
    )
    title = models.CharField(max_length=200)
    summary = models.TextField(help_text="What is wrong.")
    advice = models.TextField(help_text="What to do about it.")
    subjects = models.JSONField(default=list)
    facts = models.JSONField(default=list, help_text="Pairs of a name and a figure as text.")
    chart = models.JSONField(
        default=dict, help_text="Shares before and now by label, for the mail and the page."
    )
    counted_at = models.DateTimeField(
        null=True, blank=True, help_text="The last check that confirmed it, or was a good one."
    )
    n_bad = models.PositiveIntegerField(default=0, help_text="Alarming checks in a row.")
    n_good = models.PositiveIntegerField(default=0, help_text="Good checks in a row since.")
    raised_at = models.DateTimeField()
    fired_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField()
    notified_at = models.DateTimeField(null=True, blank=True, help_text="Last put in a digest.")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=200, blank=True)
    silenced_until = models.DateTimeField(null=True, blank=True)
    silenced_by = models.CharField(max_length=200, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=500, blank=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-last_seen_at", "-id"]
        default_permissions = ("view", "change")
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=~Q(state="resolved"), name="one_unresolved_alert"
            ),
            models.CheckConstraint(
                condition=Q(state="resolved", resolved_at__isnull=False)
                | (~Q(state="resolved") & Q(resolved_at=None)),
                name="resolved_alert_says_when",
            ),
        ]

    def __str__(self) -> str:
        return self.title


class AlertEvent(models.Model):
    """One step in the life of an alert."""

    class Kind(models.TextChoices):
        RAISED = "raised", "First seen"
        FIRED = "fired", "Fired"
        REOPENED = "reopened", "Came back"
        ACKNOWLEDGED = "acknowledged", "Acknowledged"
        SILENCED = "silenced", "Silenced"
        UNSILENCED = "unsilenced", "No longer silenced"
        NOTIFIED = "notified", "Put in a digest"
        RESOLVED = "resolved", "Resolved"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=15, choices=Kind)
    at = models.DateTimeField()
    by = models.CharField(max_length=200)
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["at", "id"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.get_kind_display()} at {self.at:%Y-%m-%d %H:%M}"


class Channel(models.TextChoices):
    MAIL = "mail", "Mail"
    WEBHOOK = "webhook", "Webhook"


class DeliveryState(models.TextChoices):
    QUEUED = "queued", "Waiting"
    SENT = "sent", "Sent"
    GIVEN_UP = "given_up", "Given up"


class Notification(models.Model):
    """One message of the outbox: written with what it tells of, delivered by whoever comes first.

    Who delivers claims it until a moment; a claim that runs out was a process that died.
    """

    channel = models.CharField(max_length=10, choices=Channel)
    state = models.CharField(max_length=10, choices=DeliveryState, default=DeliveryState.QUEUED)
    alerts = models.ManyToManyField(Alert, related_name="notifications")
    message_id = models.CharField(max_length=200, unique=True)
    recipient = models.CharField(max_length=1000, help_text="Addresses, or the webhook's host.")
    subject = models.CharField(max_length=300)
    text = models.TextField(help_text="The mail as text, or the JSON that is posted.")
    html = models.TextField(blank=True)
    created_at = models.DateTimeField()
    n_attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_index=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True, help_text="Of the last attempt.")

    class Meta:
        ordering = ["-created_at", "-id"]
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return f"{self.get_channel_display()}: {self.subject}"


class MonitoringPolicy(models.Model):
    """One row: how staff want to be told. An empty interval is MONITORING_INTERVAL."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    is_paused = models.BooleanField("checks are paused", default=False)
    interval_hours = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(8760)],
        help_text="Hours from one check to the next; empty: MONITORING_INTERVAL.",
    )
    last_started_at = models.DateTimeField(null=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    confirmations = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(30)],
        help_text="Alarming checks in a row until an alert fires.",
    )
    resolutions = models.PositiveSmallIntegerField(
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(30)],
        help_text="Good checks in a row until a firing alert is resolved.",
    )
    cool_down_hours = models.PositiveIntegerField(
        default=48,
        validators=[MaxValueValidator(8760)],
        help_text="Hours after its end in which the same trouble reopens an alert without a mail.",
    )
    expected_within_hours = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(8760)],
        help_text="Hours in which new customers are expected; empty: three intervals, 0: never.",
    )
    retrain_after_days = models.PositiveIntegerField(
        default=180,
        validators=[MaxValueValidator(3650)],
        help_text="Days after which the training of an active version is overdue; 0: never.",
    )
    floor_distribution = models.FloatField(default=FLOORS.distribution, validators=SHARE)
    floor_tail = models.FloatField(default=FLOORS.tail, validators=SHARE)
    floor_missing = models.FloatField(default=FLOORS.missing, validators=SHARE)
    floor_levels = models.FloatField(default=FLOORS.levels, validators=SHARE)
    floor_unseen = models.FloatField(default=FLOORS.unseen, validators=SHARE)
    floor_correlation = models.FloatField(default=FLOORS.correlation, validators=SHARE)
    floor_segments = models.FloatField(default=FLOORS.segments, validators=SHARE)
    floor_distance = models.FloatField(default=FLOORS.distance, validators=SHARE)
    floor_far = models.FloatField(default=FLOORS.far, validators=SHARE)
    keep_inputs_days = models.PositiveIntegerField(
        default=30,
        validators=[MaxValueValidator(3650)],
        help_text="Days for which a report can be computed again from the customers it compared.",
    )
    keep_all_days = models.PositiveIntegerField(
        default=90,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="Days of all reports and points; older ones are thinned to one a week.",
    )

    class Meta:
        default_permissions = ("view", "change")
        verbose_name = verbose_name_plural = "monitoring policy"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_monitoring_policy")]

    def __str__(self) -> str:
        return "Monitoring policy"

    def clean(self) -> None:
        """The customers of a report go with it when it is thinned out."""
        if self.keep_inputs_days > self.keep_all_days:
            words = (
                f"Must not exceed the days every report is kept, {self.keep_all_days}: the "
                "customers of a report go with it."
            )
            raise ValidationError({"keep_inputs_days": words})

    @classmethod
    def current(cls) -> MonitoringPolicy:
        """The one row, made when it is first asked for."""
        return cls.objects.get_or_create(pk=1)[0]

    @classmethod
    def shown(cls) -> MonitoringPolicy:
        """As `current`, for pages: without a row its defaults, and nothing is written."""
        return cls.objects.filter(pk=1).first() or cls()

    def interval(self, *, default_hours: int) -> timedelta:
        return timedelta(hours=self.interval_hours or default_hours)

    @property
    def floors(self) -> Floors:
        values: dict[str, Any] = {
            field.name.removeprefix("floor_"): getattr(self, field.name)
            for field in self._meta.get_fields()
            if field.name.startswith("floor_")
        }
        return Floors(**values)
