"""One pointer row for each model type, so that activation is only ever an UPDATE."""

from django.db import migrations


def create_pointers(apps, schema_editor):
    active_model = apps.get_model("modelregistry", "ActiveModel")
    for model_type in ("kmeans", "dbscan"):
        active_model.objects.get_or_create(model_type=model_type)


class Migration(migrations.Migration):
    dependencies = [("modelregistry", "0001_initial")]
    operations = [migrations.RunPython(create_pointers, migrations.RunPython.noop)]
