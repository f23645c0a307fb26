"""The search for lost jobs has moved to the module of the jobs."""

from typing import Any

from django.db import migrations

BEFORE, AFTER = "segments.training.fail_lost_jobs", "segments.jobs.fail_lost_jobs"


def move_schedule(apps: Any, schema_editor: Any) -> None:
    apps.get_model("django_q", "Schedule").objects.filter(func=BEFORE).update(func=AFTER)


def move_back(apps: Any, schema_editor: Any) -> None:
    apps.get_model("django_q", "Schedule").objects.filter(func=AFTER).update(func=BEFORE)


class Migration(migrations.Migration):
    dependencies = [("segments", "0003_segment_descriptions")]

    operations = [migrations.RunPython(move_schedule, move_back)]
