"""What of the API's contract drf-spectacular cannot read off the code.

Bounds of paths and texts, headers of the answers, links from one answer to the next call, and the
addresses that are no API views.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension

from access.bodies import Body
from access.schema import MEANINGS
from segmentation_project.renderers import PROBLEM_JSON
from segments.serializers import CUSTOMER_SCHEMAS, LINES, VISIBLE

Schema = dict[str, Any]

JSON = "application/json"

IN_A_BODY = (f"^{LINES}*{VISIBLE}{LINES}*$", f"^{LINES}*$")
IN_A_QUERY = ("^[^\\u0000]*[^\\s\\u0000\\u001C-\\u001F\\u0085][^\\u0000]*$", "^[^\\u0000]*$")
"""Patterns of texts: those that must not be empty, nor white space alone, and all others."""
MAX_ID = 2**63 - 1
WITHOUT_BODY = ("monitor_drift",)
"""Operations that a list of customers may be left out of."""

HEADERS: Mapping[str, Schema] = {
    "X-Request-ID": {
        "description": "The one that was sent, if it has a valid form, or a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{8,64}$"},
    },
    "RateLimit-Policy": {
        "description": "What the key may ask for: `q` requests in `w` seconds.",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "What is left of it: `r` requests, for `t` seconds.",
        "schema": {"type": "string"},
    },
    "X-RateLimit-Limit": {
        "description": "Requests in a window.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Remaining": {
        "description": "Requests left in it.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Reset": {
        "description": "Seconds until it ends.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Retry-After-Limit": {
        "description": "Seconds to wait before the next try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Where to follow what was started.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Repr-Digest": {
        "description": "SHA-256 of the file, as in RFC 9530.",
        "required": True,
        "schema": {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"},
    },
    "Content-Disposition": {
        "description": "The file's name, with the model type and version.",
        "required": True,
        "schema": {"type": "string"},
    },
    "X-Model-Version": {
        "description": "The model type and version that the file is of.",
        "required": True,
        "schema": {"type": "string"},
    },
}
"""By component; a name may stand for a header of another name, see `HEADERS_OF`."""

EVERYWHERE = ("X-Request-ID",)
LIMITED = (
    "RateLimit-Policy",
    "RateLimit",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
HEADERS_OF: Mapping[str, Mapping[str, str]] = {
    "202": {"Location": "Location"},
    "401": {"WWW-Authenticate": "WWW-Authenticate"},
    "409": {"Retry-After": "Retry-After"},
    "429": {"Retry-After": "Retry-After-Limit"},
    "503": {"Retry-After": "Retry-After"},
}
"""Headers of an answer, by its status: the name and its component."""
OWN_HEADERS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("segments_export", "200"): ("Repr-Digest", "Content-Disposition", "X-Model-Version"),
}
"""Those of one operation's answer."""
OF_THE_CONNECTION = (
    " Any request can also be refused with a problem before the server knows which operation it is "
    "for, which is why no operation lists these: 408 when it does not come whole in time, 417 when "
    "`Expect` asks for more than `100-continue`, 501 for an unknown `Transfer-Encoding`."
)

JOB = {"job_id": "$response.body#/id"}
ALERT = {"alert_id": "$response.body#/id"}
LATEST_ALERT = {"alert_id": "$response.body#/results/0/id"}
LISTED_CUSTOMER = {"customer_id": "$response.body#/results/0/customer_id"}
LINKS: Mapping[tuple[str, str], Mapping[str, Mapping[str, str]]] = {
    ("train", "202"): {"job": JOB, "cancel_job": JOB},
    ("cancel_job", "202"): {"job": JOB, "retry_job": JOB},
    ("retry_job", "202"): {"job": JOB, "cancel_job": JOB},
    ("drift_reports", "200"): {"drift_report": {"report_id": "$response.body#/results/0/id"}},
    ("monitor_drift", "200"): {"drift_report": {"report_id": "$response.body#/id"}},
    ("alerts", "200"): {
        "alert": LATEST_ALERT,
        "acknowledge_alert": LATEST_ALERT,
        "silence_alert": LATEST_ALERT,
        "resolve_alert": LATEST_ALERT,
    },
    ("acknowledge_alert", "200"): {"alert": ALERT, "resolve_alert": ALERT},
    ("silence_alert", "200"): {"alert": ALERT, "unsilence_alert": ALERT},
    ("segments", "200"): {"read_customer": LISTED_CUSTOMER, "erase_customer": LISTED_CUSTOMER},
    ("read_customer", "200"): {
        "erase_customer": {"customer_id": "$response.body#/customer_id"},
    },
    ("models", "200"): {
        "model_version": {
            "model_type": "$response.body#/models/0/model_type",
            "number": "$response.body#/models/0/active/version",
        },
    },
    ("model_version", "200"): {
        name: {"model_type": "$response.body#/model_type", "number": "$response.body#/version"}
        for name in ("activate_model_version", "compare_model_versions")
    },
    ("model_status", "200"): {
        name: {
            "model_type": "$response.body#/model_type",
            "number": "$response.body#/active/version",
        }
        for name in ("model_version", "compare_model_versions")
    },
}
"""By operation and status: the operations that an answer leads to, and their parameters."""

SERVICE = {
    "type": "object",
    "required": ["name", "version", "status", "active_versions", "links"],
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "status": {"type": "string", "description": "`ok`, or why nothing is predicted."},
        "active_versions": {
            "type": "object",
            "description": "By model type; null where none serves.",
            "additionalProperties": {"type": ["integer", "null"]},
        },
        "links": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
ALIVE = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string", "const": "alive"}},
}
READINESS = {
    "type": "object",
    "required": ["status", "checks"],
    "properties": {
        "status": {"type": "string", "enum": ["ready", "not ready"]},
        "checks": {
            "type": "object",
            "description": "`ok` or what is wrong.",
            "additionalProperties": {"type": "string"},
        },
    },
}
PUBLIC: Mapping[str, tuple[str, str, Mapping[str, tuple[str, str]]]] = {
    "/": ("service", "What this is and what serves", {"200": ("What serves.", "Service")}),
    "/healthz": ("healthz", "The process answers", {"200": ("It does.", "Alive")}),
    "/readyz": (
        "readyz",
        "Whether a prediction could be served now",
        {"200": ("It could.", "Readiness"), "503": ("It could not.", "Readiness")},
    ),
}
"""Addresses without a key, limit or entry: operation, summary, and each status with its schema."""
PUBLIC_SCHEMAS = {"Service": SERVICE, "Alive": ALIVE, "Readiness": READINESS}


IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "The same key again within 24 hours, with the same query and body, gets the first answer "
        "again; nothing is carried out twice."
    ),
    "schema": {"type": "string", "pattern": "^[!#-~][!-~]*$", "minLength": 1, "maxLength": 255},
}


class BodyExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """A body that tells the server to do something takes no field it does not know."""

    target_class = Body
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> Schema:
        schema: Schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**schema, "additionalProperties": False}


def complete(*, result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """A postprocessing hook of drf-spectacular: the schema with all that is said here."""
    schemas = result["components"]["schemas"]
    result["info"]["description"] += OF_THE_CONNECTION
    result["components"]["headers"] = {name: dict(header) for name, header in HEADERS.items()}
    used = str(result["paths"])
    schemas.update(
        {name: customer for name, customer in CUSTOMER_SCHEMAS.items() if f"/{name}'" in used}
    )
    for name, schema in schemas.items():
        if name.endswith("Request"):
            bound_texts(schema, IN_A_BODY)
    for methods in result["paths"].values():
        for method in methods.keys() & {"post", "delete"}:
            let_repeat(methods[method])
    known = {operation["operationId"] for operation in operations(result)}
    for operation in operations(result):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                parameter["schema"] = path_schema(parameter["name"], parameter["schema"])
            bound_texts(parameter["schema"], IN_A_QUERY)
        for media in operation.get("requestBody", {}).get("content", {}).values():
            is_list = media["schema"].get("type") == "array"
            if is_list and operation["operationId"] not in WITHOUT_BODY:
                operation["requestBody"]["required"] = True
        if JSON not in operation["responses"].get("200", {}).get("content", {JSON: None}):
            operation["responses"].pop("406", None)  # it asks for nothing, so nothing is refused
        for status, response in operation["responses"].items():
            response["headers"] = headers_of(operation["operationId"], status)
            links = LINKS.get((operation["operationId"], status), {})
            if links:
                response["links"] = {
                    name: {"operationId": name, "parameters": dict(parameters)}
                    for name, parameters in links.items()
                    if name in known
                }
    if "/healthz" not in result["paths"]:
        schemas.update(PUBLIC_SCHEMAS)
        public_paths = {path: {"get": public_operation(path)} for path in PUBLIC}
        result["paths"] = {**public_paths, **result["paths"]}
    return result


def let_repeat(operation: Schema) -> None:
    """Document what an Idempotency-Key does to a POST or a DELETE."""
    operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    for status in (409, 422):
        refusal = answer(MEANINGS[status], "Problem", PROBLEM_JSON)
        operation["responses"].setdefault(str(status), refusal)
    operation["responses"] = dict(sorted(operation["responses"].items()))


def operations(schema: Schema) -> Iterator[Schema]:
    for methods in schema["paths"].values():
        yield from methods.values()


def bound_texts(schema: Any, patterns: tuple[str, str]) -> None:
    """Say of each text in it which characters it may hold."""
    if isinstance(schema, list):
        for part in schema:
            bound_texts(part, patterns)
    elif isinstance(schema, dict):
        is_text = "string" in schema.get("type", ())
        if is_text and not schema.keys() & {"pattern", "format", "enum", "const"}:
            schema["pattern"] = patterns[0] if schema.get("minLength") else patterns[1]
        for part in schema.values():
            bound_texts(part, patterns)


def path_schema(name: str, schema: Schema) -> Schema:
    if name == "model_type":
        return {"$ref": "#/components/schemas/ModelTypeEnum"}
    if schema["type"] == "integer":
        return {"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_ID}
    return schema


def headers_of(operation_id: str, status: str) -> Schema:
    own = OWN_HEADERS.get((operation_id, status), ())
    named = {name: name for name in (*EVERYWHERE, *LIMITED, *own)}
    named |= HEADERS_OF.get(status, {})
    return {
        name: {"$ref": f"#/components/headers/{component}"} for name, component in named.items()
    }


def public_operation(path: str) -> Schema:
    name, summary, answers = PUBLIC[path]
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["service"],
        "security": [],
        "responses": {
            **{status: answer(*told, JSON) for status, told in answers.items()},
            "400": answer("A key stands in the URL.", "Problem", PROBLEM_JSON),
        },
    }


def answer(meaning: str, component: str, media_type: str) -> Schema:
    return {
        "description": meaning,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in EVERYWHERE},
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{component}"}}},
    }
