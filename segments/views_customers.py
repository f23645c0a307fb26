"""`POST /customers`; `GET` and `DELETE /customers/{customer_id}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.schema import documented
from access.scopes import Scope
from ml.records import MAX_ID
from segments import customers
from segments.customer_digests import customer_digest
from segments.customer_record import customer_record
from segments.erasure import ERASED, UnknownCustomer, erase, receipt_of
from segments.serializers import customers_body
from segments.serializers_customers import (
    CustomerSerializer,
    ReceiptSerializer,
    StoredSerializer,
)

CUSTOMER_ID = OpenApiParameter(
    "customer_id",
    {"type": "string", "minLength": 1, "maxLength": MAX_ID},
    OpenApiParameter.PATH,
    description="Percent-encoded once; it may hold slashes.",
)


class CustomersView(ApiView):
    scope = Scope.CUSTOMERS_WRITE
    audit_action = customers.STORED
    names_customers = False

    @extend_schema(
        summary="Store customers",
        description=(
            f"A JSON list of 1 to {settings.MAX_RECORDS:,} flat customer objects, each with its "
            "`customer_id`. Attributes that a record does not name stay as they are. Nobody is "
            "assigned to a segment by this; the next import, training or activation does it, or "
            "`POST /predict`. A value of another kind than a feature of a version that serves is "
            "refused as there; nulls and attributes that no such version uses are free. The id of "
            "an erased customer may come again, as a new customer."
        ),
        request=customers_body(ids_required=True),
        responses=documented(StoredSerializer, 415),
        operation_id="store_customers",
    )
    def post(self, request: Request) -> Response:
        stored = customers.store_customers(
            request.data,
            max_records=settings.MAX_RECORDS,
            directory=settings.MODEL_DIR,
            secret=settings.SECRET_KEY,
            by=self.actor,
            at=timezone.now(),
        )
        return Response(StoredSerializer(stored).data)


class CustomerView(ApiView):
    """The trail knows the customer by a keyed digest, so that an erasure leaves no id behind."""

    http_method_names = ["get", "delete", "head"]
    audit_action = "customer.read"
    names_customers = False  # no answer to DELETE does

    @property
    def scope(self) -> str:  # type: ignore[override]  # by method
        is_deletion = self.request.method == "DELETE"
        return Scope.CUSTOMERS_ERASE if is_deletion else Scope.CUSTOMERS_READ

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method == "DELETE":
            self.audit_action = ERASED
        if is_utf8(request.META):
            digest = customer_digest(kwargs["customer_id"], secret=settings.SECRET_KEY)
            self.audit_target = ("customer", digest)
        super().initial(request, *args, **kwargs)

    def audit_path(self) -> str:
        return "/customers/{customer_id}"

    def storable(self, customer_id: str) -> str:
        """The id, if it was sent as text that a database could hold. Raises `UnknownCustomer`."""
        is_text = is_utf8(self.request.META)
        if not is_text or "\0" in customer_id or len(customer_id) > MAX_ID:
            raise UnknownCustomer
        return customer_id

    @extend_schema(
        summary="Read one customer",
        description="The stored attributes, and the segment under each version that matters.",
        parameters=[CUSTOMER_ID],
        responses=documented(CustomerSerializer, 404),
        operation_id="read_customer",
    )
    def get(self, request: Request, customer_id: str) -> Response:
        record = customer_record(self.storable(customer_id))
        if record is None:
            raise UnknownCustomer
        self.n_items = 1
        return Response(record)

    @extend_schema(
        summary="Erase one customer everywhere",
        description=(
            "The record, its assignments and their history, what drift reports were made of, kept "
            "answers, and what models hold of this customer alone: core samples of DBSCAN, the "
            "ends of ranges, cuts and rare levels. Models are rewritten without them, and "
            "everybody else stays in their segment. The answer is the receipt: what was erased, "
            "which artifacts were replaced, what of many customers together is kept, and what "
            "cannot be erased at once. A training under way fails and has to be asked for again."
        ),
        parameters=[CUSTOMER_ID],
        responses=documented(ReceiptSerializer, 404, 409),
        operation_id="erase_customer",
    )
    def delete(self, request: Request, customer_id: str) -> Response:
        erasure = erase(
            [self.storable(customer_id)],
            by=self.actor,
            directory=settings.MODEL_DIR,
            secret=settings.SECRET_KEY,
            elsewhere=settings.ERASED_ELSEWHERE,
        )
        return Response(receipt_of(erasure))


def is_utf8(meta: Mapping[str, Any]) -> bool:
    """Whether the path was sent as text. Django writes bytes that are none as %FF, like an id."""
    sent = meta.get("RAW_URI", "").partition("?")[0]  # gunicorn's; PATH_INFO is Django's by now
    try:
        unquote_to_bytes(sent.encode("latin-1")).decode()
    except UnicodeDecodeError:
        return False
    return True
