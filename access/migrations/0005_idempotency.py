from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("access", "0004_key_life")]
    operations = [
        migrations.CreateModel(
            name="IdempotentRequest",
            fields=[
                ("digest", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("fingerprint", models.CharField(max_length=64)),
                ("holder", models.CharField(max_length=32)),
                ("request_id", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(db_index=True)),
                ("claimed_until", models.DateTimeField()),
                ("is_done", models.BooleanField(default=False)),
                ("status_code", models.PositiveSmallIntegerField(null=True)),
                ("location", models.CharField(blank=True, max_length=500)),
                ("answer", models.BinaryField(null=True)),
            ],
        ),
    ]
