from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0004_delivery_alerts"),
    ]

    operations = [
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("drift", "Drift"),
                    ("quality", "Quality loss"),
                    ("missing_data", "Missing data"),
                    ("training_failed", "Training failed"),
                    ("training_overdue", "Training overdue"),
                    ("damaged_artifact", "Damaged artifact"),
                    ("check_failed", "Check failed"),
                    ("delivery", "Alerts not delivered"),
                    ("sealing", "Audit trail not sealed"),
                ],
                max_length=20,
            ),
        ),
    ]
