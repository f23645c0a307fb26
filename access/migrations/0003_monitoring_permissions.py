"""What the groups that staff start with may see and do of monitoring."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

VIEW = [
    "monitoring.view_alert",
    "monitoring.view_qualitypoint",
    "monitoring.view_servinghour",
    "monitoring.view_monitoringpolicy",
]
# Messages name the people who get them: only who looks after delivery reads them.
GROUPS = {
    "viewer": VIEW,
    "analyst": [*VIEW, "monitoring.change_alert"],
    "operator": [
        *VIEW,
        "monitoring.change_alert",
        "monitoring.change_monitoringpolicy",
        "monitoring.view_notification",
        "monitoring.change_notification",
    ],
}


def extend_groups(apps, schema_editor):
    """A group that a team deleted stays away."""
    # Permissions are otherwise made only after the last migration.
    config = apps.get_app_config("monitoring")
    module = getattr(config, "models_module", None)
    config.models_module = module or True
    create_permissions(config, verbosity=0, apps=apps)
    config.models_module = module
    permission_model = apps.get_model("auth", "Permission")
    for group in apps.get_model("auth", "Group").objects.filter(name__in=GROUPS):
        codenames = [name.partition(".")[2] for name in GROUPS[group.name]]
        group.permissions.add(
            *permission_model.objects.filter(
                content_type__app_label="monitoring", codename__in=codenames
            )
        )


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0002_staff_groups"),
        ("monitoring", "0003_alerts_and_series"),
    ]
    operations = [migrations.RunPython(extend_groups, migrations.RunPython.noop)]
