"""Indexes in the order of `at`, in which the trail is read; those in the order of ids go."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_seals")]

    operations = [
        migrations.AlterModelOptions(
            name="auditentry",
            options={
                "default_permissions": ("view",),
                "ordering": ["-at", "-id"],
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit entries",
            },
        ),
        migrations.RemoveIndex(model_name="auditentry", name="audit_action"),
        migrations.RemoveIndex(model_name="auditentry", name="audit_actor"),
        migrations.RemoveIndex(model_name="auditentry", name="audit_target"),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["action", "at"], name="audit_by_action"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["actor_id", "at"], name="audit_by_actor"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["actor_label", "at"], name="audit_by_actor_label"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["actor_kind", "at"], name="audit_by_actor_kind"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["target_id", "at"], name="audit_by_target"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["target_type", "at"], name="audit_by_target_type"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["request_id", "at"], name="audit_by_request"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(
                fields=["outcome", "at"],
                condition=models.Q(("outcome", "succeeded"), _negated=True),
                name="audit_by_outcome",
            ),
        ),
    ]
