"""The settings under test: secrets of their own, directories that go with the run."""

import os
import tempfile

_directory = tempfile.mkdtemp(prefix="segmentation-tests-")
os.environ.update(
    {
        "SECRET_KEY": "tests-" + "k" * 64,
        "API_KEY": "tests-bootstrap-key-" + "b" * 32,
        "JWT_SECRET_KEY": "tests-" + "j" * 64,
        "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
        "API_CONFIG": f"{_directory}/no-such-config.json",
        "DATA_DIR": f"{_directory}/data",
        "MODEL_DIR": f"{_directory}/models",
        "LOG_DIR": f"{_directory}/logs",
    }
)
for _name in ("DB_PATH", "RATE_LIMIT", "ALERT_EMAIL", "SMTP_SERVER", "TRUSTED_PROXY_COUNT"):
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
