from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("modelregistry", "0005_n_fitted"),
    ]

    operations = [
        migrations.AddField(
            model_name="trainingjob",
            name="process",
            field=models.CharField(
                blank=True,
                default="",
                help_text="Which process runs it, where that can be known.",
                max_length=200,
            ),
        ),
    ]
