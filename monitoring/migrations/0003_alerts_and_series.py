"""Alerts with their outbox, series of quality and serving, and what a report was made of."""

from typing import Any

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


def count_seen(apps: Any, schema_editor: Any) -> None:
    """Until now everybody who was there was compared."""
    apps.get_model("monitoring", "DriftReport").objects.update(n_seen=models.F("n_current"))


class Migration(migrations.Migration):
    dependencies = [
        ("modelregistry", "0006_process_of_a_job"),
        ("monitoring", "0002_warning_verdict"),
    ]

    operations = [
        migrations.CreateModel(
            name="DriftInput",
            fields=[
                (
                    "report",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="input",
                        serialize=False,
                        to="monitoring.driftreport",
                    ),
                ),
                ("content", models.BinaryField()),
                ("n_rows", models.PositiveBigIntegerField()),
                ("n_erased", models.PositiveBigIntegerField(default=0)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.RemoveField(
            model_name="driftreport",
            name="mail_error",
        ),
        migrations.RemoveField(
            model_name="driftreport",
            name="mailed_at",
        ),
        migrations.AddField(
            model_name="driftreport",
            name="arguments",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="driftreport",
            name="n_seen",
            field=models.PositiveBigIntegerField(
                default=0, help_text="Customers there were to compare."
            ),
            preserve_default=False,
        ),
        migrations.RunPython(count_seen, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="driftreport",
            name="source",
            field=models.CharField(
                choices=[
                    ("request", "Customers sent over the API"),
                    ("stored", "Stored customers"),
                    ("chosen", "Stored customers since a chosen moment"),
                    ("file", "A file"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="driftreport",
            name="since",
            field=models.DateTimeField(
                blank=True, help_text="From when on stored customers were looked at.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="driftreport",
            name="n_current",
            field=models.PositiveBigIntegerField(
                help_text="Customers of these that were compared."
            ),
        ),
        migrations.CreateModel(
            name="Alert",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("drift", "Drift"),
                            ("quality", "Quality loss"),
                            ("missing_data", "Missing data"),
                            ("training_failed", "Training failed"),
                            ("training_overdue", "Training overdue"),
                            ("damaged_artifact", "Damaged artifact"),
                            ("check_failed", "Check failed"),
                        ],
                        max_length=20,
                    ),
                ),
                ("key", models.CharField(max_length=300)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending: not yet confirmed"),
                            ("firing", "Firing"),
                            ("resolved", "Resolved"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                (
                    "model_type",
                    models.CharField(
                        blank=True,
                        choices=[("kmeans", "K-means"), ("dbscan", "DBSCAN")],
                        max_length=16,
                    ),
                ),
                ("title", models.CharField(max_length=200)),
                ("summary", models.TextField(help_text="What is wrong.")),
                ("advice", models.TextField(help_text="What to do about it.")),
                ("subjects", models.JSONField(default=list)),
                (
                    "facts",
                    models.JSONField(
                        default=list, help_text="Pairs of a name and a figure as text."
                    ),
                ),
                (
                    "chart",
                    models.JSONField(
                        default=dict,
                        help_text="Shares before and now by label, for the mail and the page.",
                    ),
                ),
                (
                    "counted_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="The last check that confirmed it, or was a good one.",
                        null=True,
                    ),
                ),
                (
                    "n_bad",
                    models.PositiveIntegerField(default=0, help_text="Alarming checks in a row."),
                ),
                (
                    "n_good",
                    models.PositiveIntegerField(default=0, help_text="Good checks in a row since."),
                ),
                ("raised_at", models.DateTimeField()),
                ("fired_at", models.DateTimeField(blank=True, null=True)),
                ("last_seen_at", models.DateTimeField()),
                (
                    "notified_at",
                    models.DateTimeField(blank=True, help_text="Last put in a digest.", null=True),
                ),
                ("acknowledged_at", models.DateTimeField(blank=True, null=True)),
                ("acknowledged_by", models.CharField(blank=True, max_length=200)),
                ("silenced_until", models.DateTimeField(blank=True, null=True)),
                ("silenced_by", models.CharField(blank=True, max_length=200)),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("resolution", models.CharField(blank=True, max_length=500)),
                (
                    "report",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="alerts",
                        to="monitoring.driftreport",
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="modelregistry.modelversion",
                    ),
                ),
            ],
            options={
                "ordering": ["-last_seen_at", "-id"],
                "default_permissions": ("view", "change"),
            },
        ),
        migrations.CreateModel(
            name="AlertEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("raised", "First seen"),
                            ("fired", "Fired"),
                            ("reopened", "Came back"),
                            ("acknowledged", "Acknowledged"),
                            ("silenced", "Silenced"),
                            ("unsilenced", "No longer silenced"),
                            ("notified", "Put in a digest"),
                            ("resolved", "Resolved"),
                        ],
                        max_length=15,
                    ),
                ),
                ("at", models.DateTimeField()),
                ("by", models.CharField(max_length=200)),
                ("note", models.CharField(blank=True, max_length=500)),
                (
                    "alert",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="monitoring.alert",
                    ),
                ),
            ],
            options={
                "ordering": ["at", "id"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="MonitoringPolicy",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("is_paused", models.BooleanField(default=False, verbose_name="checks are paused")),
                (
                    "interval_hours",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Hours from one check to the next; empty: MONITORING_INTERVAL.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(8760),
                        ],
                    ),
                ),
                ("last_started_at", models.DateTimeField(editable=False, null=True)),
                ("last_error", models.TextField(blank=True, editable=False)),
                (
                    "confirmations",
                    models.PositiveSmallIntegerField(
                        default=1,
                        help_text="Alarming checks in a row until an alert fires.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(30),
                        ],
                    ),
                ),
                (
                    "resolutions",
                    models.PositiveSmallIntegerField(
                        default=2,
                        help_text="Good checks in a row until a firing alert is resolved.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(30),
                        ],
                    ),
                ),
                (
                    "cool_down_hours",
                    models.PositiveIntegerField(
                        default=48,
                        help_text="Hours after its end in which the same trouble reopens an alert without a mail.",
                        validators=[django.core.validators.MaxValueValidator(8760)],
                    ),
                ),
                (
                    "expected_within_hours",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Hours in which new customers are expected; empty: three intervals, 0: never.",
                        null=True,
                        validators=[django.core.validators.MaxValueValidator(8760)],
                    ),
                ),
                (
                    "retrain_after_days",
                    models.PositiveIntegerField(
                        default=180,
                        help_text="Days after which the training of an active version is overdue; 0: never.",
                        validators=[django.core.validators.MaxValueValidator(3650)],
                    ),
                ),
                (
                    "floor_distribution",
                    models.FloatField(
                        default=0.025,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "floor_tail",
                    models.FloatField(
                        default=0.15,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "floor_missing",
                    models.FloatField(
                        default=0.02,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "floor_levels",
                    models.FloatField(
                        default=0.025,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "floor_unseen",
                    models.FloatField(
                        default=0.002,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "floor_correlation",
                    models.FloatField(
                        default=0.05,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "floor_segments",
                    models.FloatField(
                        default=0.025,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "floor_distance",
                    models.FloatField(
                        default=0.025,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "floor_far",
                    models.FloatField(
                        default=0.01,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "keep_inputs_days",
                    models.PositiveIntegerField(
                        default=30,
                        help_text="Days for which a report can be computed again from the customers it compared.",
                        validators=[django.core.validators.MaxValueValidator(3650)],
                    ),
                ),
                (
                    "keep_all_days",
                    models.PositiveIntegerField(
                        default=90,
                        help_text="Days of all reports and points; older ones are thinned to one a week.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(3650),
                        ],
                    ),
                ),
            ],
            options={
                "verbose_name": "monitoring policy",
                "verbose_name_plural": "monitoring policy",
                "default_permissions": ("view", "change"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="one_monitoring_policy"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "channel",
                    models.CharField(
                        choices=[("mail", "Mail"), ("webhook", "Webhook")], max_length=10
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("queued", "Waiting"), ("sent", "Sent"), ("given_up", "Given up")],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("message_id", models.CharField(max_length=200, unique=True)),
                (
                    "recipient",
                    models.CharField(
                        help_text="Addresses, or the webhook's host.", max_length=1000
                    ),
                ),
                ("subject", models.CharField(max_length=300)),
                (
                    "text",
                    models.TextField(help_text="The mail as text, or the JSON that is posted."),
                ),
                ("html", models.TextField(blank=True)),
                ("created_at", models.DateTimeField()),
                ("n_attempts", models.PositiveIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(db_index=True)),
                ("claimed_until", models.DateTimeField(blank=True, null=True)),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                (
                    "error",
                    models.CharField(blank=True, help_text="Of the last attempt.", max_length=500),
                ),
                (
                    "alerts",
                    models.ManyToManyField(related_name="notifications", to="monitoring.alert"),
                ),
            ],
            options={
                "ordering": ["-created_at", "-id"],
                "default_permissions": ("view", "change"),
            },
        ),
        migrations.CreateModel(
            name="QualityPoint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("measured_at", models.DateTimeField()),
                ("n_customers", models.PositiveBigIntegerField()),
                ("silhouette", models.FloatField(null=True)),
                (
                    "silhouette_se",
                    models.FloatField(help_text="Standard error of the silhouette.", null=True),
                ),
                (
                    "n_silhouette",
                    models.PositiveIntegerField(default=0, help_text="Customers in its sample."),
                ),
                (
                    "silhouette_z",
                    models.FloatField(
                        help_text="Its change since training in standard errors.", null=True
                    ),
                ),
                ("davies_bouldin", models.FloatField(null=True)),
                ("calinski_harabasz", models.FloatField(null=True)),
                ("inertia_per_customer", models.FloatField(null=True)),
                ("noise_share", models.FloatField()),
                (
                    "stability",
                    models.FloatField(
                        help_text="Mean adjusted Rand index with refits on bootstraps.", null=True
                    ),
                ),
                (
                    "shares",
                    models.JSONField(default=dict, help_text="Share of customers by segment id."),
                ),
                (
                    "level",
                    models.CharField(help_text="ok, warning, alarm or unknown.", max_length=10),
                ),
                ("sentence", models.TextField()),
                (
                    "report",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="quality",
                        to="monitoring.driftreport",
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quality",
                        to="modelregistry.modelversion",
                    ),
                ),
            ],
            options={
                "ordering": ["-measured_at", "-id"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="ServingHour",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "model_type",
                    models.CharField(
                        choices=[("kmeans", "K-means"), ("dbscan", "DBSCAN")], max_length=16
                    ),
                ),
                ("version_number", models.PositiveIntegerField()),
                ("hour", models.DateTimeField(help_text="Its start.")),
                ("n_requests", models.PositiveBigIntegerField(default=0)),
                ("n_customers", models.PositiveBigIntegerField(default=0)),
                ("n_refused", models.PositiveBigIntegerField(default=0)),
                ("n_failed", models.PositiveBigIntegerField(default=0)),
                ("latency_ms_sum", models.FloatField(default=0.0)),
                ("latencies", models.JSONField(default=dict)),
            ],
            options={
                "ordering": ["-hour", "model_type", "-version_number"],
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model_type", "version_number", "hour"), name="serving_hour"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ServingMark",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("audit_id", models.PositiveBigIntegerField(default=0)),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="one_serving_mark")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "resolved"), _negated=True),
                fields=("key",),
                name="one_unresolved_alert",
            ),
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("resolved_at__isnull", False), ("state", "resolved")),
                    models.Q(models.Q(("state", "resolved"), _negated=True), ("resolved_at", None)),
                    _connector="OR",
                ),
                name="resolved_alert_says_when",
            ),
        ),
        migrations.AddIndex(
            model_name="qualitypoint",
            index=models.Index(fields=["version", "-measured_at"], name="quality_version"),
        ),
    ]
