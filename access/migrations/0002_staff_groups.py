"""The groups that staff start with; a team may change or delete them."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

VIEW = [
    "modelregistry.view_modelversion",
    "modelregistry.view_activation",
    "modelregistry.view_trainingjob",
    "segments.view_customer",
    "segments.view_segment",
    "monitoring.view_driftreport",
]
GROUPS = {
    "viewer": VIEW,
    "analyst": [
        *VIEW,
        "modelregistry.train_modelversion",
        "segments.import_customer",
        "segments.change_segment",
    ],
    "operator": [
        *VIEW,
        "modelregistry.activate_modelversion",
        "access.add_apikey",
        "access.change_apikey",
        "access.view_apikey",
    ],
    "auditor": ["audit.view_auditentry"],
}


def create_groups(apps, schema_editor):
    # Permissions are otherwise made only after the last migration.
    for label in {name.partition(".")[0] for names in GROUPS.values() for name in names}:
        config = apps.get_app_config(label)
        config.models_module = True
        create_permissions(config, verbosity=0, apps=apps)
        config.models_module = None
    group_model = apps.get_model("auth", "Group")
    permission_model = apps.get_model("auth", "Permission")
    for group_name, names in GROUPS.items():
        group, created = group_model.objects.get_or_create(name=group_name)
        if created:
            group.permissions.set(
                permission_model.objects.get(content_type__app_label=label, codename=codename)
                for label, _, codename in (name.partition(".") for name in names)
            )


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0001_initial"),
        ("audit", "0002_append_only"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("modelregistry", "0002_pointers"),
        ("monitoring", "0001_initial"),
        ("segments", "0001_initial"),
    ]
    operations = [migrations.RunPython(create_groups, migrations.RunPython.noop)]
