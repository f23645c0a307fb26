"""Receipts of customers who were erased."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("segments", "0005_jobs_looked_after")]

    operations = [
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("customer_digests", models.JSONField(help_text="Keyed digests of the ids.")),
                ("receipt", models.JSONField()),
                (
                    "artifacts",
                    models.JSONField(default=list, help_text="Replaced files yet to be removed."),
                ),
                ("erased_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={"ordering": ["-id"], "default_permissions": ()},
        ),
    ]
