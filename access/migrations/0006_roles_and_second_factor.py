"""Roles as they are now, a permission to see the settings, and codes in place of a lost phone."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

VIEW = {
    "modelregistry.view_activation",
    "modelregistry.view_modelversion",
    "modelregistry.view_trainingjob",
    "monitoring.view_alert",
    "monitoring.view_driftreport",
    "monitoring.view_monitoringpolicy",
    "monitoring.view_qualitypoint",
    "monitoring.view_servinghour",
    "segments.view_customer",
    "segments.view_segment",
}
SHIPPED = {
    "viewer": VIEW,
    "analyst": VIEW
    | {
        "modelregistry.train_modelversion",
        "monitoring.change_alert",
        "segments.change_segment",
        "segments.import_customer",
    },
    "operator": VIEW
    | {
        "access.add_apikey",
        "access.change_apikey",
        "access.view_apikey",
        "modelregistry.activate_modelversion",
        "monitoring.change_alert",
        "monitoring.change_monitoringpolicy",
        "monitoring.change_notification",
        "monitoring.view_notification",
    },
    "auditor": {"audit.view_auditentry"},
}
"""What the migrations before this one gave."""
VIEW_IMPORTS = {"segments.view_customerimport"}
ANALYSE = {
    "modelregistry.train_modelversion",
    "monitoring.run_driftcheck",
    "segments.change_segment",
    "segments.export_customer",
    "segments.import_customer",
}
ROLES = {
    "viewer": VIEW | VIEW_IMPORTS,
    "analyst": VIEW | VIEW_IMPORTS | ANALYSE,
    "operator": VIEW
    | VIEW_IMPORTS
    | ANALYSE
    | SHIPPED["operator"]
    | {"access.view_settings", "segments.delete_customer"},
    "auditor": {
        "access.view_apikey",
        "access.view_settings",
        "audit.view_auditentry",
        "auth.view_group",
        "auth.view_user",
        "modelregistry.view_activation",
        "modelregistry.view_modelversion",
        "modelregistry.view_trainingjob",
    },
}
# Made here, as permissions are otherwise only made after the last migration; Django finds them.
NEW_PERMISSIONS = {
    "access.view_settings": ("apikey", "Can view the settings in force"),
    "auth.view_group": ("group", "Can view group"),
    "auth.view_user": ("user", "Can view user"),
    "monitoring.run_driftcheck": (
        "driftreport",
        "Can check customers for drift, and compute again",
    ),
    "segments.delete_customer": ("customer", "Can delete customer"),
    "segments.export_customer": ("customer", "Can export customers with their segments"),
    "segments.view_customerimport": ("customerimport", "Can view customer import"),
}


def renew_roles(apps, schema_editor):
    """A group that a team changed stays as it is, and one that it deleted stays away."""
    permission_model = apps.get_model("auth", "Permission")
    type_model = apps.get_model("contenttypes", "ContentType")
    for name, (model, words) in NEW_PERMISSIONS.items():
        label, _, codename = name.partition(".")
        content_type, _ = type_model.objects.get_or_create(app_label=label, model=model)
        permission_model.objects.get_or_create(
            content_type=content_type, codename=codename, defaults={"name": words}
        )
    by_name = {
        f"{label}.{codename}": key
        for key, label, codename in permission_model.objects.values_list(
            "pk", "content_type__app_label", "codename"
        )
    }
    for group in apps.get_model("auth", "Group").objects.filter(name__in=ROLES):
        held = group.permissions.values_list("content_type__app_label", "codename")
        if {f"{label}.{codename}" for label, codename in held} == SHIPPED[group.name]:
            group.permissions.set(by_name[name] for name in ROLES[group.name])


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0005_idempotency"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AlterModelOptions(
            name="apikey",
            options={
                "ordering": ("-created",),
                "permissions": [("view_settings", "Can view the settings in force")],
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
            },
        ),
        migrations.CreateModel(
            name="RecoveryCode",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.CharField(max_length=64)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="recovery_codes",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"default_permissions": ()},
        ),
        migrations.AddConstraint(
            model_name="recoverycode",
            constraint=models.UniqueConstraint(
                fields=("user", "digest"), name="recovery_code_of_a_user"
            ),
        ),
        migrations.RunPython(renew_roles, migrations.RunPython.noop),
    ]
