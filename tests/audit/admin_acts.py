"""Everything that can be done in the admin, and what the trail calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from audit.models import ActorKind, AuditEntry
from audit.trail import Actor
from modelregistry.activation import pointer_of
from modelregistry.models import JobState, ModelVersion, TrainingJob
from monitoring.models import DeliveryState
from segments.imports import receive
from tests.access.test_admin import user_form
from tests.factories import TrainedModels, make_active, make_key
from tests.monitoring.alert_rows import make_alert
from tests.monitoring.test_admin import make_report
from tests.monitoring.test_admin_outbox import make_notification
from tests.monitoring.test_admin_policy import form_of
from tests.segmentation_project.test_two_factor import code_of, enrolled
from tests.staff import PASSWORD, make_user, superuser

NEW_PASSWORD = "another-password-of-the-tests"
SHOWN = "it shows; what is done from there has an address of its own"
REFUSED = "nobody may, superusers included"
Form = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """Models that serve, and one more version of K-means."""

    trained: TrainedModels
    candidate: ModelVersion


@dataclass(frozen=True)
class Act:
    """`prepare` makes what the act needs and returns the arguments of its address, and its form.

    `first` is what the same browser did before; what it returns belongs to the form too.
    """

    action: str
    prepare: Callable[[Scene], tuple[list[Any], Form]]
    method: str = "post"
    is_signed_in: bool = True
    first: Callable[[Client], Form] = lambda client: {}

    def send(self, client: Client, name: str, args: list[Any], form: Form) -> Any:
        page = name.partition(":")[0]
        for upload in (each for each in form.values() if hasattr(each, "seek")):
            upload.seek(0)
        return getattr(client, self.method)(reverse(f"admin:{page}", args=args), form)


def passwords(first: str, second: str) -> Form:
    return {first: NEW_PASSWORD, second: NEW_PASSWORD}


def on(make: Callable[[], Any], **form: Any) -> Callable[[Scene], tuple[list[Any], Form]]:
    """Of an object made for it."""
    return lambda scene: ([make().pk], form)


def without_object(**form: Any) -> Callable[[Scene], tuple[list[Any], Form]]:
    return lambda scene: ([], form)


def bob() -> Any:
    """The first is bob; for those who try one act after the other there are more."""
    n_bobs = User.objects.filter(username__startswith="bob").count()
    return make_user(name=f"bob{n_bobs or ''}")


def keepers() -> Group:
    return Group.objects.create(name="keepers")


def key() -> Any:
    return make_key(scopes=["predict"])[0]


def an_entry() -> AuditEntry:
    return AuditEntry.objects.latest("id")


def job(state: str) -> Callable[[], TrainingJob]:
    return lambda: TrainingJob.objects.create(model_type="kmeans", state=state, queued_by="tests")


def silenced() -> Any:
    return make_alert(silenced_until=timezone.now() + timedelta(days=1))


def bob_with_a_second_factor() -> Any:
    user = bob()
    enrolled(user)
    return user


def own_second_factor(client: Client) -> Form:
    enrolled(User.objects.get(username="root"))
    return {}


def secret_seen(client: Client) -> Form:
    client.post(reverse("admin:two_factor_set_up"), {"password": PASSWORD})
    return {"code": code_of(TOTPDevice.objects.get())}


def password_given(client: Client) -> Form:
    user = bob_with_a_second_factor()
    client.post(reverse("admin:login"), {"username": user.username, "password": PASSWORD})
    return {"code": code_of(TOTPDevice.objects.get())}


def changed_user(scene: Scene) -> tuple[list[Any], Form]:
    user = bob()
    return [user.pk], user_form(user, is_staff="on")


def selected(verb: str, make: Callable[[], Any]) -> Callable[[Scene], tuple[list[Any], Form]]:
    return lambda scene: (
        [],
        {"action": verb, "_selected_action": [make().pk, make().pk], "post": "yes"},
    )


def two_groups(scene: Scene) -> tuple[list[Any], Form]:
    chosen = [Group.objects.create(name=name).pk for name in ("keepers", "guests")]
    return [], {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}


def customers(scene: Scene) -> tuple[list[Any], Form]:
    chosen = [record["customer_id"] for record in scene.trained.records[:2]]
    return [], {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}


def move(version: ModelVersion) -> Form:
    generation = pointer_of(version.model_type).generation
    return {"reason": "tests", "generation": generation, "force": "on"}


def rolled_back(scene: Scene) -> tuple[list[Any], Form]:
    make_active(version=scene.candidate)
    return ["kmeans"], move(scene.candidate)


def renamed_on_its_card(scene: Scene) -> tuple[list[Any], Form]:
    version = scene.candidate
    return [version.pk, version.segments.earliest("segment_id").segment_id], {"name": "Loyal"}


def new_policy(scene: Scene) -> tuple[list[Any], Form]:
    return [1], form_of(superuser("policy reader"), interval_hours=6)


def table(scene: Scene) -> tuple[list[Any], Form]:
    return [], {"file": SimpleUploadedFile("own.csv", b"customer_id,orders\na,1\nb,2\n")}


def an_upload(scene: Scene) -> tuple[list[Any], Form]:
    """Of root, as the others may not look into it."""
    root = Actor(ActorKind.USER, id="root", label="root")
    row = receive([b"customer_id,orders\na,1\nb,2\n"], "own.csv", by=root)
    kept = {f"keep_{n}": "on" for n in range(2)}
    names = {"name_0": "customer_id", "name_1": "orders"}
    return [row.pk], {"id_column": "0", **kept, **names, "import": "yes"}


def report(scene: Scene) -> Any:
    return make_report(scene.trained, factor=1.0)


def alarming_report(**form: Any) -> Callable[[Scene], tuple[list[Any], Form]]:
    """With two alerts, as an act on several leaves one entry too."""

    def prepare(scene: Scene) -> tuple[list[Any], Form]:
        made = report(scene)
        for _ in range(2):
            make_alert(report=made, version=made.version)
        return [made.pk], form

    return prepare


ACTS = {
    "audit_auditentry_changelist": Act("audit.read", without_object(), method="get"),
    "audit_auditentry_change": Act("audit.read", on(an_entry), method="get"),
    "audit_auditentry_export": Act("audit.exported", without_object(), method="get"),
    "login": Act(
        "user.signed_in",
        lambda scene: ([], {"username": bob().username, "password": PASSWORD}),
        is_signed_in=False,
    ),
    "sign_in_code": Act(
        "user.signed_in", without_object(), is_signed_in=False, first=password_given
    ),
    "two_factor_set_up": Act("user.second_factor_begun", without_object(password=PASSWORD)),
    "two_factor_confirm": Act("user.second_factor_enabled", without_object(), first=secret_seen),
    "two_factor_codes": Act(
        "user.recovery_codes_renewed", without_object(password=PASSWORD), first=own_second_factor
    ),
    "two_factor_off": Act(
        "user.second_factor_disabled", without_object(password=PASSWORD), first=own_second_factor
    ),
    "logout": Act("user.signed_out", without_object()),
    "password_change": Act(
        "user.password_changed",
        without_object(old_password=PASSWORD, **passwords("new_password1", "new_password2")),
    ),
    "auth_user_add": Act(
        "user.created",
        without_object(
            username="eve", usable_password="true", **passwords("password1", "password2")
        ),
    ),
    "auth_user_change": Act("user.changed", changed_user),
    "auth_user_delete": Act("user.deleted", on(bob, post="yes")),
    "auth_user_password_change": Act(
        "user.password_changed",
        on(bob, usable_password="true", **passwords("password1", "password2")),
    ),
    "auth_user_unlock": Act("user.sign_in_unlocked", on(bob)),
    "auth_user_remove_second_factor": Act(
        "user.second_factor_removed", on(bob_with_a_second_factor)
    ),
    "auth_group_add": Act("group.created", without_object(name="keepers")),
    "auth_group_change": Act("group.changed", on(keepers, name="guests")),
    "auth_group_delete": Act("group.deleted", on(keepers, post="yes")),
    "auth_group_changelist:delete_selected": Act("group.deleted", two_groups),
    "access_apikey_add": Act("api_key.created", without_object(name="crm", scopes=["predict"])),
    "access_apikey_revoke": Act("api_key.revoked", on(key)),
    "access_apikey_rotate": Act("api_key.rotated", on(key, overlap_hours="24")),
    "modelregistry_modelversion_train": Act(
        "training.queued", without_object(model_type="kmeans", n_clusters="3")
    ),
    "modelregistry_modelversion_activate": Act(
        "model_version.activated", lambda scene: ([scene.candidate.pk], move(scene.candidate))
    ),
    "modelregistry_modelversion_rename": Act("segment.renamed", renamed_on_its_card),
    "modelregistry_modelversion_check_artifact": Act(
        "model_version.artifact_checked", lambda scene: ([scene.candidate.pk], {})
    ),
    "modelregistry_modelversion_roll_back": Act("model_version.rolled_back_to", rolled_back),
    "modelregistry_trainingjob_cancel": Act("training.cancelled", on(job(JobState.QUEUED))),
    "modelregistry_trainingjob_retry": Act("training.retried", on(job(JobState.FAILED))),
    "segments_customer_import_view": Act("customers.file_uploaded", table),
    "segments_customerimport_look": Act("customers.import_queued", an_upload),
    "segments_customerimport_cancel": Act(
        "customers.import_cancelled", lambda scene: (an_upload(scene)[0], {})
    ),
    "segments_customer_export_view": Act(
        "segments.exported", without_object(which="kmeans:", format="csv")
    ),
    "segments_customer_delete": Act(
        "customer.erased",
        lambda scene: ([scene.trained.records[0]["customer_id"]], {"post": "yes"}),
    ),
    "segments_customer_changelist:delete_selected": Act("customer.erased", customers),
    "segments_segment_change": Act(
        "segment.renamed",
        lambda scene: (
            [scene.trained.kmeans.segments.earliest("segment_id").segment_id],
            {"name": "Loyal"},
        ),
    ),
    "monitoring_alert_acknowledge": Act("alert.acknowledged", on(make_alert)),
    "monitoring_alert_silence": Act("alert.silenced", on(make_alert, length="day")),
    "monitoring_alert_unsilence": Act("alert.unsilenced", on(silenced)),
    "monitoring_alert_resolve": Act("alert.resolved", on(make_alert)),
    "monitoring_alert_changelist:acknowledge_selected": Act(
        "alert.acknowledged", selected("acknowledge_selected", make_alert)
    ),
    **{
        f"monitoring_alert_changelist:silence_for_{span}": Act(
            "alert.silenced", selected(f"silence_for_{span}", make_alert)
        )
        for span in ("an_hour", "a_day", "a_week")
    },
    "monitoring_alert_changelist:resolve_selected": Act(
        "alert.resolved", selected("resolve_selected", make_alert)
    ),
    "monitoring_notification_send": Act(
        "notification.retried", on(lambda: make_notification(state=DeliveryState.GIVEN_UP))
    ),
    "monitoring_monitoringpolicy_change": Act("monitoring_policy.changed", new_policy),
    "monitoring_monitoringpolicy_check_now": Act("monitoring.check_requested", without_object()),
    "monitoring_driftreport_acknowledge": Act("alert.acknowledged", alarming_report()),
    "monitoring_driftreport_silence": Act("alert.silenced", alarming_report(length="day")),
    "monitoring_driftreport_retrain": Act(
        "training.queued", lambda scene: ([report(scene).pk], {"parameters": "chosen"})
    ),
    "monitoring_driftreport_again": Act(
        "drift.computed_again", lambda scene: ([report(scene).pk], {})
    ),
    "monitoring_driftreport_json": Act(
        "monitoring.exported", lambda scene: ([report(scene).pk], {}), method="get"
    ),
    "monitoring_driftreport_export": Act("monitoring.exported", without_object(), method="get"),
}
"""By the name of the address; of an action on a list by that of the list and its own."""
FREE = (
    *("login", "sign_in_code", "logout", "password_change"),
    *("two_factor_set_up", "two_factor_confirm", "two_factor_codes", "two_factor_off"),
)
"""What needs no permission."""

MODELS = (
    *("access_apikey", "audit_auditentry", "auth_group", "auth_user"),
    *("modelregistry_activation", "modelregistry_modelversion", "modelregistry_trainingjob"),
    *("monitoring_alert", "monitoring_driftreport", "monitoring_monitoringpolicy"),
    *("monitoring_notification", "monitoring_qualitypoint"),
    *("segments_customer", "segments_customerimport", "segments_segment"),
)
NOTHING = {
    **dict.fromkeys(("index", "app_list", "search", "password_change_done"), SHOWN),
    "autocomplete": SHOWN,
    **dict.fromkeys(("settings", "jobs_under_way", "two_factor"), SHOWN),
    "jsi18n": "words of the pages",
    "view_on_site": "leads to an object's own page, and no object has one",
    "modelregistry_modelversion_compare": SHOWN,
    "monitoring_qualitypoint_version": SHOWN,
    **dict.fromkeys(("monitoring_driftreport_features", "monitoring_driftreport_checks"), SHOWN),
    **{
        f"{model}_{page}": why
        for model in MODELS
        for page, why in {
            **dict.fromkeys(("changelist", "change"), SHOWN),
            **dict.fromkeys(("add", "delete"), REFUSED),
        }.items()
        if f"{model}_{page}" not in ACTS
    },
}
"""Addresses at which nothing is changed or taken away, and why."""
TIMELINES = tuple(f"{model}_history" for model in MODELS)
"""Each is a reading of the trail."""


def addresses(patterns: Any = None) -> Iterator[URLPattern]:
    """Every pattern below the admin, by walking the URLconf."""
    if patterns is None:
        [patterns] = [
            each.url_patterns
            for each in get_resolver().url_patterns
            if str(each.pattern) == "admin/"
        ]
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns)
        else:
            yield pattern
