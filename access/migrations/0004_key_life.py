from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("access", "0003_monitoring_permissions")]
    operations = [
        migrations.AddField(
            model_name="apikey",
            name="last_used_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="rotated_from",
            field=models.OneToOneField(
                blank=True,
                editable=False,
                null=True,
                on_delete=models.PROTECT,
                related_name="rotated_to",
                to="access.apikey",
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="lineage",
            field=models.CharField(blank=True, default="", editable=False, max_length=8),
            preserve_default=False,
        ),
    ]
