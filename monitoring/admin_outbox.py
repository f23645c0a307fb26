"""The outbox in the admin: what was sent, what waits, what was given up, and sending it again."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display

from access.figures import NONE
from access.staff import PAGES, ReadOnlyAdmin, Table, actor_of, add_problem, require, submitted
from monitoring import outbox
from monitoring.alert_page import DELIVERY_STYLES, MOMENT, STYLES, badge, cell, link, shown_state
from monitoring.channels import Channels
from monitoring.models import Alert, Channel, DeliveryState, Notification
from monitoring.outbox import DeliveryConflict

VIEW, CHANGE = "monitoring.view_notification", "monitoring.change_notification"
MAX_ALERTS = 100
"""Alerts in the table of one message; the others are counted in it."""


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    page_template = "notification.html"
    list_before_template = f"{PAGES}/notification_list.html"
    list_display = [
        "shown_at",
        "shown_state",
        "shown_subject",
        "channel",
        "recipient",
        "n_attempts",
        "shown_sent",
        "shown_error",
    ]
    ordering = ["-created_at", "-id"]
    list_display_links = ["shown_subject"]
    list_filter = ["state", "channel"]
    search_fields = ["subject", "recipient"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notification]:
        return super().get_queryset(request).defer("text", "html")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        require(request, VIEW)
        channels = Channels.of(settings)
        shown = {
            "has_channel": channels.mails or channels.posts,
            "never_told": not Notification.objects.exists(),
        }
        return super().changelist_view(request, shown | (extra_context or {}))

    @display(description="written", ordering="created_at")
    def shown_at(self, notification: Notification) -> str:
        return f"{notification.created_at:{MOMENT}}"

    @display(description="sent", ordering="sent_at", empty_value=NONE)
    def shown_sent(self, notification: Notification) -> str | None:
        return f"{notification.sent_at:{MOMENT}}" if notification.sent_at else None

    @display(description="last error", ordering="error", empty_value=NONE)
    def shown_error(self, notification: Notification) -> SafeString | None:
        return cell(notification.error) if notification.error else None

    @display(description="subject", ordering="subject")
    def shown_subject(self, notification: Notification) -> SafeString:
        return cell(notification.subject)

    @display(
        description="state",
        ordering="state",
        label={"Sent": "success", "Waiting": "info", "Given up": "danger"},
    )
    def shown_state(self, notification: Notification) -> str:
        return notification.get_state_display()

    def page_context(self, request: HttpRequest, obj: Notification) -> dict[str, Any]:
        return {
            "title": obj.subject,
            "notification": obj,
            "style": DELIVERY_STYLES[DeliveryState(obj.state)],
            "words": words_of(obj),
            "text": readable(obj),
            "told": alerts_table(obj, with_links=request.user.has_perm("monitoring.view_alert")),
            "facts": [
                ("Channel", obj.get_channel_display()),
                ("To", obj.recipient),
                ("Written", f"{obj.created_at:{MOMENT}}"),
                ("Attempts", obj.n_attempts),
                ("Sent", f"{obj.sent_at:{MOMENT}}" if obj.sent_at else NONE),
                ("Last error", obj.error or NONE),
                ("Message id", obj.message_id),
            ],
            "may_send": obj.state != DeliveryState.SENT and request.user.has_perm(CHANGE),
        }

    def get_urls(self) -> list[URLPattern]:
        return [*self.object_urls(send=self.send_view), *super().get_urls()]

    def send_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        require(request, VIEW, CHANGE)
        notification = self.found(request, object_id)
        if notification is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        page = reverse("admin:monitoring_notification_change", args=[notification.pk])
        form = forms.Form(submitted(request))
        if form.is_valid():
            try:
                outbox.give_again(notification.pk, by=actor_of(request), at=timezone.now())
            except DeliveryConflict as error:
                add_problem(form, error)
            else:
                messages.success(request, "It is due now and is sent within seconds.")
                return HttpResponseRedirect(page)
        return self.page(
            request,
            "form.html",
            title=f"Send again: {notification.subject}",
            form=form,
            intro=[
                f"The same message to {notification.recipient}. Who got it already but could not "
                "confirm it may get it twice."
            ],
            button="Send again",
            back=page,
            back_label="Back to the message",
        )


def words_of(notification: Notification) -> str:
    if notification.state == DeliveryState.SENT:
        return f"Sent {notification.sent_at:{MOMENT}}."
    why = f" The last attempt failed: {notification.error}" if notification.error else ""
    if notification.state == DeliveryState.GIVEN_UP:
        return f"It was given up and is not tried again by itself.{why}"
    return f"It is tried {notification.next_attempt_at:{MOMENT}} or soon after.{why}"


def readable(notification: Notification) -> str:
    """The mail as text, or the posted JSON in lines."""
    if notification.channel != Channel.WEBHOOK:
        return notification.text
    try:
        return json.dumps(json.loads(notification.text), indent=2, ensure_ascii=False)
    except ValueError:
        return notification.text


def alerts_table(notification: Notification, *, with_links: bool) -> Table:
    at = timezone.now()
    alerts = list(notification.alerts.order_by("-last_seen_at", "-id")[:MAX_ALERTS])

    def cells(alert: Alert) -> tuple[Any, ...]:
        state = shown_state(alert, at=at)
        title = link("monitoring_alert", alert.pk, alert.title) if with_links else alert.title
        return title, alert.get_kind_display(), badge(state, STYLES[state])

    return Table(["Alert", "Kind", "State now"], [cells(alert) for alert in alerts])
