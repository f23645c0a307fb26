"""Seals and leaves, and the triggers that keep them and the entries append-only.

A later migration that rebuilds one of the tables must install the triggers anew.
"""

from django.db import migrations, models

from audit import append_only


def install(apps, schema_editor):
    append_only.remove(schema_editor.connection)  # those of an earlier release
    append_only.install(schema_editor.connection)


def remove(apps, schema_editor):
    append_only.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0002_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditSeal",
            fields=[
                (
                    "no",
                    models.PositiveBigIntegerField(
                        help_text="1, 2, 3 and so on.", primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("entries", "Entries"), ("pruned", "Pruned")], max_length=16
                    ),
                ),
                (
                    "previous",
                    models.CharField(
                        help_text="The digest of the seal before, in hexadecimal; 64 zeros for 1.",
                        max_length=64,
                    ),
                ),
                (
                    "n_entries",
                    models.PositiveBigIntegerField(help_text="Entries sealed, or removed."),
                ),
                (
                    "first_id",
                    models.PositiveBigIntegerField(help_text="The smallest id sealed.", null=True),
                ),
                (
                    "last_id",
                    models.PositiveBigIntegerField(help_text="The largest id sealed.", null=True),
                ),
                ("pruned_from", models.PositiveBigIntegerField(null=True)),
                ("pruned_to", models.PositiveBigIntegerField(null=True)),
                ("root", models.CharField(help_text="Merkle root in hexadecimal.", max_length=64)),
                ("sealed_at", models.DateTimeField()),
                ("key_id", models.CharField(help_text="Of the key that signed.", max_length=16)),
                (
                    "signature",
                    models.CharField(help_text="Ed25519, in hexadecimal.", max_length=128),
                ),
            ],
            options={
                "verbose_name": "audit seal",
                "ordering": ["-no"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("kind", "pruned")),
                        fields=["pruned_from"],
                        name="audit_pruned",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AuditLeaf",
            fields=[
                ("entry_id", models.PositiveBigIntegerField(primary_key=True, serialize=False)),
                ("seal_no", models.PositiveBigIntegerField()),
                ("position", models.PositiveIntegerField(help_text="From 0, in its seal.")),
                ("hash", models.BinaryField(help_text="32 bytes; see audit.leaf.")),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("seal_no", "position"), name="audit_leaf_place")
                ],
            },
        ),
        migrations.RunPython(install, remove),
    ]
