"""Jobs that lost their process are looked for every minute, not only before the next training."""

from typing import Any

from django.db import migrations

NAME = "Fail lost training jobs"
# A success each minute would push the trainings out of the list of done tasks; a failure need
# not come again either, for the next minute's task does its work.
OPTIONS = "{'q_options': {'save': False, 'ack_failure': True}}"


def create_schedule(apps: Any, schema_editor: Any) -> None:
    apps.get_model("django_q", "Schedule").objects.update_or_create(
        func="segments.training.fail_lost_jobs",
        defaults={"name": NAME, "schedule_type": "I", "minutes": 1, "kwargs": OPTIONS},
    )


def delete_schedule(apps: Any, schema_editor: Any) -> None:
    apps.get_model("django_q", "Schedule").objects.filter(
        func="segments.training.fail_lost_jobs"
    ).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0001_initial"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
    ]

    operations = [migrations.RunPython(create_schedule, delete_schedule)]
