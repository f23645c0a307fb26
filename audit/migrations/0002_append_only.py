"""Nothing any more: `0003_seals` makes the trail append-only, together with its seals."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = []
