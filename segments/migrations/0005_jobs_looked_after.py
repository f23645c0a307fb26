"""What runs each minute does more than fail lost jobs, and is named for it."""

from typing import Any

from django.db import migrations

BEFORE = {"func": "segments.jobs.fail_lost_jobs", "name": "Fail lost training jobs"}
AFTER = {"func": "segments.jobs.look_after_jobs", "name": "Look after training jobs"}


def rename_schedule(apps: Any, schema_editor: Any) -> None:
    apps.get_model("django_q", "Schedule").objects.filter(func=BEFORE["func"]).update(**AFTER)


def rename_back(apps: Any, schema_editor: Any) -> None:
    apps.get_model("django_q", "Schedule").objects.filter(func=AFTER["func"]).update(**BEFORE)


class Migration(migrations.Migration):
    dependencies = [("segments", "0004_lost_jobs_moved")]

    operations = [migrations.RunPython(rename_schedule, rename_back)]
