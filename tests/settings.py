"""The settings under test: secrets of their own, directories that go with the run."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_directory = tempfile.mkdtemp(prefix="segmentation-tests-")
atexit.register(shutil.rmtree, _directory, ignore_errors=True)
# Threads of one test process only wait for those of the other; before numpy is imported.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
os.environ.update(
    {
        "SECRET_KEY": "tests-sign-cookies-" + "k" * 64,
        "API_KEY": "tests-bootstrap-key-" + "b" * 32,
        "JWT_SECRET_KEY": "tests-sign-tokens-" + "j" * 64,
        "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
        "API_CONFIG": f"{_directory}/no-such-config.json",
        "DATA_DIR": f"{_directory}/data",
        "MODEL_DIR": f"{_directory}/models",
        "LOG_DIR": f"{_directory}/logs",
        "DB_PATH": f"{_directory}/data/segments.db",
    }
)
# Whatever a developer's environment and .env say, all else is at its default. The services that
# the suite can run on are taken from the environment alone.
for _name in ("DATABASE_URL", "REDIS_URL"):
    os.environ.setdefault(_name, "")
for _name in [
    "JWT_ALGORITHM",
    "ACCESS_TOKEN_EXPIRE_MINUTES",
    "API_HOST",
    "API_PORT",
    "API_WORKERS",
    "API_THREADS",
    "API_DEBUG",
    "CSRF_TRUSTED_ORIGINS",
    "TRUSTED_PROXY_COUNT",
    "HTTPS_ONLY",
    "SQLITE_SYNCHRONOUS",
    "RATE_LIMIT",
    "BAD_KEY_LIMIT",
    "LOGIN_FAILURES",
    "LOGIN_LOCK_MINUTES",
    "REQUIRE_TOTP",
    "SESSION_HOURS",
    "SMTP_SERVER",
    "SMTP_PORT",
    "SMTP_USERNAME",
    "SMTP_PASSWORD",
    "SMTP_TLS",
    "SMTP_FROM",
    "ALERT_EMAIL",
    "PUBLIC_URL",
    "WEBHOOK_URL",
    "WEBHOOK_SECRET",
    "DRIFT_THRESHOLD",
    "MONITORING_INTERVAL",
    "AUDIT_KEY_FILE",
    "AUDIT_PUBLIC_KEYS",
    "AUDIT_ANCHOR_FILE",
    "AUDIT_SEAL_SECONDS",
    "AUDIT_HEAD_MAIL",
    "CHANGES_KEPT_DAYS",
    "GATE_MAX_MOVED_SHARE",
    "GATE_MAX_NOISE_SHARE",
    "GATE_MAX_SILHOUETTE_DROP",
    "GATE_DRIFT",
    "JOB_LOST_AFTER_SECONDS",
]:
    os.environ[_name] = ""

if os.environ.get("REDIS_URL"):
    # A database of its own for each test process: clearing one must not clear the others.
    _base, _, _first = os.environ["REDIS_URL"].rpartition("/")
    _worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    os.environ["REDIS_URL"] = f"{_base}/{int(_first) + int(_worker)}"

from segmentation_project.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Neither needed nor shared with a server that runs beside the tests.
STATIC_ROOT = Path(_directory) / "static"
STATIC_ROOT.mkdir()
