"""The groups that staff start with, and what each may see and do; a team may change them.

A migration makes them as they are here; `tests/access/test_roles.py` compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

VIEW = frozenset(
    {
        "modelregistry.view_activation",
        "modelregistry.view_modelversion",
        "modelregistry.view_trainingjob",
        "monitoring.view_alert",
        "monitoring.view_driftreport",
        "monitoring.view_monitoringpolicy",
        "monitoring.view_qualitypoint",
        "monitoring.view_servinghour",
        "segments.view_customer",
        "segments.view_customerimport",
        "segments.view_segment",
    }
)
ANALYSE = frozenset(
    {
        "modelregistry.train_modelversion",
        "monitoring.run_driftcheck",
        "segments.change_segment",
        "segments.export_customer",
        "segments.import_customer",
    }
)
# Messages name the people who get them: only who looks after delivery reads them.
OPERATE = frozenset(
    {
        "access.add_apikey",
        "access.change_apikey",
        "access.view_apikey",
        "access.view_settings",
        "modelregistry.activate_modelversion",
        "monitoring.change_alert",
        "monitoring.change_monitoringpolicy",
        "monitoring.change_notification",
        "monitoring.view_notification",
        "segments.delete_customer",
    }
)
AUDIT = frozenset(
    {
        "access.view_apikey",
        "access.view_settings",
        "audit.view_auditentry",
        "auth.view_group",
        "auth.view_user",
        "modelregistry.view_activation",
        "modelregistry.view_modelversion",
        "modelregistry.view_trainingjob",
    }
)


@dataclass(frozen=True, slots=True)
class Role:
    """`sentence` tells who chooses groups what the role is for."""

    sentence: str
    permissions: frozenset[str]


ROLES = {
    "viewer": Role(
        "Sees customers, segments, versions, jobs, reports and alerts; changes nothing.", VIEW
    ),
    "analyst": Role(
        "A viewer who imports and exports customers, trains, names segments and checks for drift.",
        VIEW | ANALYSE,
    ),
    "operator": Role(
        "An analyst who activates and rolls back, answers alerts, sets the policy, gives out API "
        "keys and erases customers.",
        VIEW | ANALYSE | OPERATE,
    ),
    "auditor": Role(
        "Reads the audit log, versions, activations, keys, people and settings; no customers.",
        AUDIT,
    ),
}
