"""Django settings, all from the environment or `.env`; `.env.example` explains each variable."""

from __future__ import annotations

import socket
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy
from redis.backoff import NoBackoff
from redis.retry import Retry

from segmentation_project.admin_theme import UNFOLD  # noqa: F401  Unfold reads it from here
from segmentation_project.api_config import given_in, load_api_config
from segmentation_project.env import Environment

VERSION = "0.1.0"
BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(BASE_DIR / ".env")
API_CONFIG = env.path("API_CONFIG", "config/api_config.json", base=BASE_DIR)
api_config = load_api_config(API_CONFIG)

# -- secrets ------------------------------------------------------------------------------------
SECRET_KEY = env.secret("SECRET_KEY", min_length=50, example="change-me-django-secret-key")
API_KEY = env.secret("API_KEY", min_length=32, example="change-me-api-key")
JWT_ALGORITHM = env.choice("JWT_ALGORITHM", "HS256", {"HS256", "HS384", "HS512"})
JWT_SECRET_KEY = env.secret(
    "JWT_SECRET_KEY",
    min_length=int(JWT_ALGORITHM.removeprefix("HS")) // 8,  # RFC 7518, 3.2
    example="change-me-jwt-secret-key",
)
ACCESS_TOKEN_EXPIRE_MINUTES = env.integer("ACCESS_TOKEN_EXPIRE_MINUTES", 30, low=1, high=1440)

# -- server -------------------------------------------------------------------------------------
API_HOST = env.text("API_HOST", "0.0.0.0")
API_PORT = env.integer("API_PORT", 8000, low=1, high=65535)
API_WORKERS = env.integer("API_WORKERS", 2, low=1, high=64)
API_THREADS = env.integer("API_THREADS", 8, low=1, high=256)
DEBUG = env.boolean("API_DEBUG", default=False)
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", f"localhost,127.0.0.1,[::1],{socket.gethostname()}")
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")
TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXY_COUNT", 0, low=0, high=10)
HTTPS_ONLY = env.boolean("HTTPS_ONLY", default=False)
PUBLIC_URL = env.web_address("PUBLIC_URL") or f"http://localhost:{API_PORT}"

# -- places -------------------------------------------------------------------------------------
DATA_DIR = env.directory("DATA_DIR", "data", base=BASE_DIR)
MODEL_DIR = env.directory("MODEL_DIR", "models", base=BASE_DIR)
LOG_DIR = env.directory("LOG_DIR", "logs", base=BASE_DIR)

# -- applications -------------------------------------------------------------------------------
INSTALLED_APPS = [
    "segmentation_project.apps.ProjectConfig",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "segmentation_project.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework_api_key",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_ratelimit",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_q",
    "audit",
    "access",
    "modelregistry",
    "segments",
    "monitoring",
]
MIDDLEWARE = [
    "segmentation_project.middleware.RequestContextMiddleware",
    "segmentation_project.admin_guard.refuse_keys",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "segmentation_project.urls"
WSGI_APPLICATION = "segmentation_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "segmentation_project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = ["segmentation_project.formats"]
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = DEBUG

# -- database -----------------------------------------------------------------------------------
# An IMMEDIATE transaction takes the write lock at its start, so a busy database makes writers
# wait for `timeout` seconds instead of failing at once. recursive_triggers lets the audit trail's
# DELETE trigger see INSERT OR REPLACE.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous="
        + env.choice("SQLITE_SYNCHRONOUS", "NORMAL", {"NORMAL", "FULL"})
        + "; PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-20000;"
        " PRAGMA recursive_triggers=ON;"
    ),
}


def database() -> dict[str, Any]:
    url = env.url("DATABASE_URL", "postgresql", "postgres")
    if not url:
        path = env.path("DB_PATH", "data/customer_segmentation.db", base=BASE_DIR)
        env.make_directory("DB_PATH", path.parent)
        config: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": path}
        config["OPTIONS"] = SQLITE_OPTIONS
        config["TEST"] = {"NAME": None}
    else:
        config = environ.Env.db_url_config(url)
    return {**config, "CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}


if sqlite3.sqlite_version_info < (3, 35):
    raise ImproperlyConfigured("SQLite 3.35 or newer is needed (RETURNING).")
DATABASES = {"default": database()}
ATOMIC_REQUESTS = False

# -- rate limit and cache -----------------------------------------------------------------------
REDIS_URL = env.url("REDIS_URL", "redis", "rediss")
EMBEDDED_COUNTERS = {
    "BACKEND": "access.counters.SQLiteCounterCache",
    "LOCATION": str(DATA_DIR / "rate_limits.db"),
}
REDIS_COUNTERS = {
    "BACKEND": "access.counters.RedisCounterCache",
    "LOCATION": REDIS_URL,
    "OPTIONS": {
        "socket_connect_timeout": 0.1,
        "socket_timeout": 0.2,
        "retry": Retry(NoBackoff(), 0),
        "fallback_path": EMBEDDED_COUNTERS["LOCATION"],
    },
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "ratelimit": REDIS_COUNTERS if REDIS_URL else EMBEDDED_COUNTERS,
}
RATELIMIT_USE_CACHE = "ratelimit"
RATE_LIMIT = env.rate("RATE_LIMIT", api_config.rate_limits.default)
BAD_KEY_LIMIT = env.rate("BAD_KEY_LIMIT", "20/m")
# The counters are ours and their exactness under concurrency is tested.
SILENCED_SYSTEM_CHECKS = ["django_ratelimit.W001"]

# -- API ----------------------------------------------------------------------------------------
MAX_RECORDS = api_config.limits.max_records
MAX_EXPLAINED_RECORDS = api_config.limits.max_explained_records
MAX_BODY_BYTES = api_config.limits.max_body_bytes
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
FILE_UPLOAD_HANDLERS = ["segments.uploads.BoundedUploadHandler"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["access.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["access.permissions.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["segmentation_project.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["segmentation_project.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "segmentation_project.renderers.JSONOnly",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "segmentation_project.exception_handler.handle",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}
API_KEY_CUSTOM_HEADER = "HTTP_X_API_KEY"
SPECTACULAR_SETTINGS = {
    "TITLE": "Customer Segmentation API",
    "DESCRIPTION": (
        "Customer segments from K-means and DBSCAN models, served with their version. "
        "Send the key in the `X-API-Key` header, or an access token from `POST /auth/token` as "
        "`Authorization: Bearer`. [The guide](/docs/guide) leads through a client; "
        "[the problem types](/docs/problems) say what the `code` of an error means."
    ),
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "segmentation_project.openapi.complete",
    ],
    "ENUM_NAME_OVERRIDES": {
        "AlertEventKindEnum": "monitoring.models.AlertEvent.Kind",
        "AlertKindEnum": "monitoring.models.AlertKind",
        "AlertStateEnum": "monitoring.models.AlertState",
        "DeliveryStateEnum": "monitoring.models.DeliveryState",
        "FateEnum": "segments.models.Fate",
        "JobStateEnum": "modelregistry.models.JobState",
        "ModelTypeEnum": "modelregistry.models.ModelType",
        "VersionStateEnum": "modelregistry.models.State",
    },
}

# -- background jobs ----------------------------------------------------------------------------
# A training lives as long as its heartbeat; the timeout only ends one that hangs. `retry`, when a
# task is delivered again, must exceed it. A job delivered twice is run once all the same.
JOB_LOST_AFTER_SECONDS = env.integer("JOB_LOST_AFTER_SECONDS", 60, low=2, high=3600)
JOB_TIMEOUT_SECONDS = 6 * 3600
Q_CLUSTER = {
    "name": "segmentation",
    "label": "Background jobs",
    "orm": "default",
    "workers": 1,
    "timeout": JOB_TIMEOUT_SECONDS,
    "retry": JOB_TIMEOUT_SECONDS + 600,
    "max_attempts": 1,
    "queue_limit": 1,
    "bulk": 1,
    "catch_up": False,
    "poll": 1,
}

# -- mail ---------------------------------------------------------------------------------------
EMAIL_HOST = env.text("SMTP_SERVER", "")
EMAIL_PORT = env.integer("SMTP_PORT", 587, low=1, high=65535)
EMAIL_HOST_USER = env.text("SMTP_USERNAME", "")
EMAIL_HOST_PASSWORD = env.password("SMTP_PASSWORD")
EMAIL_USE_TLS = env.boolean("SMTP_TLS", default=True)
EMAIL_TIMEOUT = 5
ALERT_EMAIL = ",".join(env.addresses("ALERT_EMAIL", ""))
SENDER = EMAIL_HOST_USER if "@" in EMAIL_HOST_USER else "alerts@localhost"
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.address("SMTP_FROM", SENDER)

# -- webhook ------------------------------------------------------------------------------------
WEBHOOK_URL = env.web_address("WEBHOOK_URL", is_secret=True)
WEBHOOK_SECRET = env.webhook_secret("WEBHOOK_SECRET", is_needed=bool(WEBHOOK_URL))

# -- monitoring ---------------------------------------------------------------------------------
DRIFT_THRESHOLD = env.share("DRIFT_THRESHOLD", 0.05)
MONITORING_INTERVAL = env.integer("MONITORING_INTERVAL", 24, low=1, high=8760)

# -- the trail's seals ---------------------------------------------------------------------------
AUDIT_KEY_FILE = env.path("AUDIT_KEY_FILE", f"{DATA_DIR}/audit_sealing_key.pem", base=BASE_DIR)
AUDIT_PUBLIC_KEYS = env.path(
    "AUDIT_PUBLIC_KEYS", str(AUDIT_KEY_FILE.with_suffix(".pub")), base=BASE_DIR
)
AUDIT_ANCHOR_FILE = env.path("AUDIT_ANCHOR_FILE", f"{LOG_DIR}/audit_anchors.log", base=BASE_DIR)
AUDIT_SEAL_SECONDS = env.integer("AUDIT_SEAL_SECONDS", 60, low=0, high=3600)
AUDIT_HEAD_MAIL = env.boolean("AUDIT_HEAD_MAIL", default=True)

# -- history ------------------------------------------------------------------------------------
CHANGES_KEPT_DAYS = env.integer("CHANGES_KEPT_DAYS", 90, low=1, high=3650)

# -- erasure ------------------------------------------------------------------------------------
# Who else keeps something of customers, by what it is: each is called with ids and the words about
# them alone, within the transaction that erases them, and says how many it erased.
ERASED_ELSEWHERE = {
    "drift_inputs": "monitoring.drift_check.forget_customers",
    "reports_and_alerts": "monitoring.erased_words.forget_words",
    "stored_answers": "access.idempotency.forget_answers",
}

# -- before a version serves --------------------------------------------------------------------
GATE_LIMITS = {
    "moved_share": env.limit("GATE_MAX_MOVED_SHARE", 0.3),
    "noise_share": env.limit("GATE_MAX_NOISE_SHARE", 0.5),
    "silhouette_drop": env.limit("GATE_MAX_SILHOUETTE_DROP", 0.1),
    "drift_threshold": DRIFT_THRESHOLD if env.boolean("GATE_DRIFT", default=True) else None,
}

# -- security -----------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS_ONLY
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_AGE = env.integer("SESSION_HOURS", 8, low=1, high=720) * 3600
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
LOGIN_FAILURES = env.integer("LOGIN_FAILURES", 5, low=1, high=100)
LOGIN_LOCK_MINUTES = env.integer("LOGIN_LOCK_MINUTES", 15, low=1, high=1440)
REQUIRE_TOTP = env.boolean("REQUIRE_TOTP", default=False)
OTP_TOTP_ISSUER = "Customer Segmentation"
# The lock of sign-ins counts wrong codes; a delay of the library's own would only grow.
OTP_TOTP_THROTTLE_FACTOR = 0
CSRF_FAILURE_VIEW = "segmentation_project.views.csrf_failure"
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# -- logging ------------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "redact": {"()": "segmentation_project.redaction.RedactingFilter"},
        "one_line": {"()": "segmentation_project.redaction.WithoutTraceback"},
    },
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["redact"],
        },
        "file": {
            "class": "logging.handlers.WatchedFileHandler",
            "filename": str(LOG_DIR / "segmentation.log"),
            "delay": True,
            "formatter": "line",
            "filters": ["redact"],
        },
    },
    "root": {"handlers": ["console", "file"], "level": api_config.logging.level},
    "loggers": {
        "django.request": {"level": "ERROR"},
        # Anybody can cause these, and any member of staff those.
        "django.security.DisallowedHost": {"filters": ["one_line"]},
        "django.security.DisallowedModelAdminLookup": {"filters": ["one_line"]},
        "django-q": {"level": "WARNING"},
        "py.warnings": {"level": "WARNING"},
    },
}

# -- what the entry of a start compares, and the page of the settings in force shows --------------
ENVIRONMENT = env
API_CONFIG_VALUES = api_config
API_CONFIG_GIVEN = given_in(API_CONFIG)
SETTINGS_READ_AT = datetime.now(UTC)
