from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("modelregistry", "0003_identity_and_cancelled_jobs"),
    ]

    operations = [
        migrations.AddField(
            model_name="activation",
            name="gates",
            field=models.JSONField(
                default=list, help_text="What was measured before, with its limits."
            ),
        ),
        migrations.AlterField(
            model_name="activation",
            name="forced",
            field=models.BooleanField(
                default=False, help_text="A gate was breached and overruled."
            ),
        ),
    ]
