"""`manage.py bootstrap`: from nothing to two active models. Every step is skipped once done."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from audit import trail
from modelregistry.models import ActiveModel, ModelVersion
from segmentation_project.management.commands.serve import check_port
from segments.demo_customers import (
    ID_COLUMN,
    N_DEMO_CUSTOMERS,
    only_demo_customers_are_stored,
    write_demo_file,
)
from segments.importing import LastImport, last_import_of
from segments.models import Customer

STAFF_NAME = "admin"


class Command(BaseCommand):
    help = "Prepare the database, customers, models, staff user; what exists is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--data", type=Path, help="a customer table; default: the demo shop")
        parser.add_argument("--id", dest="id_column", help="the column of it that holds the ids")
        parser.add_argument("--check-port", action="store_true", help="see first if it can serve")

    def handle(self, *args: Any, **options: Any) -> None:
        data: Path | None = options["data"]
        if options["check_port"]:
            check_port(settings.API_HOST, settings.API_PORT)
        if data is not None:
            check_readable(data)
        self.migrate()
        self.load_customers(data, options["id_column"])
        self.train_models()
        self.create_staff()

    def migrate(self) -> None:
        check_database()
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.stdout.write("Preparing the database")
            call_command("migrate", verbosity=0, interactive=False)

    def load_customers(self, data: Path | None, id_column: str | None) -> None:
        """The team's own file whenever one is named; the demo shop only into an empty system."""
        if data is not None:
            self.load_own(data, id_column)
        elif not Customer.objects.exists() and not ModelVersion.objects.exists():
            data = settings.DATA_DIR / "demo_customers.csv"
            self.stdout.write(f"Inventing {N_DEMO_CUSTOMERS:,} customers of a demo shop")
            write_demo_file(data)
            call_command("import_customers", data, id_column=ID_COLUMN, stdout=self.stdout)

    def load_own(self, data: Path, id_column: str | None) -> None:
        """The file takes the place of the untouched demo shop; other customers it updates.

        Under another id column it takes the place of its own customers too, not of joined ones.
        """
        last = last_import_of(data) if Customer.objects.exists() else None
        if last is not None and id_column in (None, last.id_column):
            self.stdout.write(f"{data} was imported last; the customers stay as they are.")
            return
        is_renamed = last is not None and are_all_stored_by(last)
        is_demo = only_demo_customers_are_stored()
        n_before = Customer.objects.count()
        call_command(
            "import_customers",
            data,
            id_column=id_column,
            replaces_all=is_demo or is_renamed,
            stdout=self.stdout,
        )
        if is_demo:
            self.stdout.write(
                "They take the place of the demo customers; the models are trained anew."
            )
        elif is_renamed:
            self.stdout.write(
                f"The ids are now those of {id_column}: they take the place of the same file's "
                "customers under their former ids; the models are trained anew."
            )
        elif n_before:
            self.stdout.write(
                f"They join the {n_before:,} customers already stored; the models stay, "
                "`manage.py train_model` trains new ones."
            )

    def train_models(self) -> None:
        """A model of each type that has none, or whose customers all gave way to others."""
        if not Customer.objects.exists():
            return
        for pointer in ActiveModel.objects.select_related("active").order_by("-model_type"):
            active = pointer.active
            if active and Customer.objects.filter(created_at__lte=active.trained_at).exists():
                continue
            reason = "Trained on the customers that took the place of the former ones."
            call_command(
                "train_model",
                pointer.model_type,
                activate=True,
                force=True,
                reason=reason if active else "First version, activated at the first start.",
                note="New customers" if active else "First start",
                stdout=self.stdout,
            )

    def create_staff(self) -> None:
        """The first staff user, made last so that no failure comes between it and its showing."""
        users = get_user_model()
        if users.objects.exists():
            return
        password = secrets.token_urlsafe(12)
        with transaction.atomic():
            users.objects.create_superuser(STAFF_NAME, password=password)
            trail.record(
                "user.created",
                by=trail.Actor.command("bootstrap"),
                target=("user", STAFF_NAME),
            )
        self.show_credentials(password)

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


def are_all_stored_by(last: LastImport) -> bool:
    """Whether the import made every stored customer: none was there before, none came since."""
    return last.n_created == last.n_stored == Customer.objects.count()


def check_database() -> None:
    """Refuse in one line, with the setting to look at, a database that cannot be opened."""
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        reason = " ".join(str(error).split())
        if password := connection.settings_dict["PASSWORD"]:
            reason = reason.replace(password, "***")
        place = f"DB_PATH ({connection.settings_dict['NAME']})"
        if connection.vendor != "sqlite":
            place = "DATABASE_URL"
        raise CommandError(f"The database that {place} names cannot be opened: {reason}") from error


def check_readable(path: Path) -> None:
    """Refuse in one line what cannot be opened, before anything else is done."""
    try:
        if not path.is_file():
            raise CommandError(f"{path} is not a file.")
        path.open("rb").close()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
