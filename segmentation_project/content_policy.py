"""What a browser may load and run on each kind of page (Content-Security-Policy).

Nothing comes from another host, and no script stands in a page. Styles may: Unfold, Swagger UI and
ReDoc write them there.
"""

from __future__ import annotations

NOWHERE = "frame-ancestors 'none'; base-uri 'none'"
API = f"default-src 'none'; {NOWHERE}; form-action 'none'"
# Alpine.js, which drives Unfold's menus, evaluates the expressions in its attributes.
ADMIN = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; "
    f"{NOWHERE}"
)
DOCUMENT = (
    f"default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; {NOWHERE}; form-action 'none'"
)
SWAGGER_UI = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    f"img-src 'self' data:; connect-src 'self'; {NOWHERE}; form-action 'none'"
)
# Its search runs in a worker that it makes itself.
REDOC = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    f"img-src 'self' data:; connect-src 'self'; worker-src blob:; {NOWHERE}; form-action 'none'"
)
POLICIES = (
    ("/admin/", ADMIN),
    ("/docs/", DOCUMENT),
    ("/docs", SWAGGER_UI),
    ("/redoc", REDOC),
)
"""By the beginning of a path; the first that fits."""
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
"""No page asks for any of these, and so none may."""


def content_policy(path: str) -> str:
    return next((policy for start, policy in POLICIES if path.startswith(start)), API)
