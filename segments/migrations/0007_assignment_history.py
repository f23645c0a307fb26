"""What becomes of assignments is kept from now on."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.utils import timezone


def begin_history(apps: Any, schema_editor: Any) -> None:
    apps.get_model("segments", "ChangeHistory").objects.create(kept_since=timezone.now())


class Migration(migrations.Migration):
    dependencies = [
        ("modelregistry", "0001_initial"),
        ("segments", "0006_erasures"),
    ]

    operations = [
        migrations.CreateModel(
            name="AssignmentChange",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("was_assigned", models.BooleanField()),
                ("changed_at", models.DateTimeField()),
                (
                    "customer",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="segments.customer",
                    ),
                ),
                (
                    "segment",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="segments.segment",
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="modelregistry.modelversion",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["customer", "version", "id"], name="change_customer")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("was_assigned", True), ("segment", None), _connector="OR"
                        ),
                        name="change_left_a_segment",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ChangeHistory",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kept_since", models.DateTimeField()),
            ],
            options={"default_permissions": ()},
        ),
        migrations.RunPython(begin_history, migrations.RunPython.noop),
    ]
