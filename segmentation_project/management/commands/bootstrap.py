"""`manage.py bootstrap`: from nothing to two active models. Every step is skipped once done."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from audit import trail
from modelregistry.models import ActiveModel
from segments.demo_shop import write_demo_customers
from segments.models import Customer

STAFF_NAME = "admin"
N_DEMO_CUSTOMERS = 2_000
DEMO_SEED = 20_260_101


class Command(BaseCommand):
    help = "Prepare the database, customers, models, staff user; what exists is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--data", type=Path, help="a customer table; default: the demo shop")
        parser.add_argument("--id", dest="id_column", help="the column of it that holds the ids")

    def handle(self, *args: Any, **options: Any) -> None:
        data: Path | None = options["data"]
        if data is not None and not data.is_file():
            raise CommandError(f"{data} is not a readable file.")
        self.migrate()
        password = self.create_staff()
        self.load_customers(data, options["id_column"])
        self.train_models()
        if password:
            self.show_credentials(password)

    def migrate(self) -> None:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.stdout.write("Preparing the database")
            call_command("migrate", verbosity=0, interactive=False)

    def create_staff(self) -> str | None:
        """The password of the first staff user, if there was none."""
        users = get_user_model()
        if users.objects.exists():
            return None
        password = secrets.token_urlsafe(12)
        users.objects.create_superuser(STAFF_NAME, password=password)
        trail.record(
            "user.created",
            by=trail.Actor.command("bootstrap"),
            target=("user", STAFF_NAME),
        )
        return password

    def load_customers(self, data: Path | None, id_column: str | None) -> None:
        """The team's own file whenever one is named; the demo shop only into an empty table."""
        if data is None:
            if Customer.objects.exists():
                return
            data, id_column = settings.DATA_DIR / "demo_customers.csv", "customer_id"
            self.stdout.write(f"Inventing {N_DEMO_CUSTOMERS:,} customers of a demo shop")
            write_demo_customers(data, n_customers=N_DEMO_CUSTOMERS, random_state=DEMO_SEED)
        call_command("import_customers", data, id_column=id_column, stdout=self.stdout)

    def train_models(self) -> None:
        for pointer in ActiveModel.objects.filter(active=None).order_by("-model_type"):
            call_command(
                "train_model",
                pointer.model_type,
                activate=True,
                force=True,
                reason="First version, activated at the first start.",
                note="First start",
                stdout=self.stdout,
            )

    def show_credentials(self, password: str) -> None:
        address = "localhost" if settings.API_HOST == "0.0.0.0" else settings.API_HOST
        url = f"http://{address}:{settings.API_PORT}"
        self.stdout.write(
            "\n".join(
                [
                    "",
                    "Shown this once; the API key also stands in .env:",
                    f"  API      {url}/docs",
                    f"  Admin    {url}/admin/",
                    f"  Login    {STAFF_NAME}",
                    f"  Password {password}",
                    f"  API key  {settings.API_KEY}",
                    "",
                ]
            )
        )
