"""The portal's settings: everything that differs between places comes from the environment (see .env.example)."""

from __future__ import annotations

import re
from pathlib import Path

import structlog
from csp.constants import NONE, SELF

from portal.env import REDIS_SECONDS, Environment, with_timeouts
from portal.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()

# --- the place it runs in
DEBUG = env.flag("DEBUG")
SECRET_KEY = env.secret("SECRET_KEY", least=50)
SECRET_KEY_FALLBACKS = env.listing("SECRET_KEY_FALLBACKS")
PORTAL_URL = env.url("PORTAL_URL")
ALLOWED_HOSTS = env.listing("ALLOWED_HOSTS", "localhost,127.0.0.1")
CSRF_TRUSTED_ORIGINS = [PORTAL_URL] if PORTAL_URL else []
VAR_DIR = Path(env.text("VAR_DIR", str(BASE_DIR / "var")))

DATABASES = {"default": env.database("DATABASE_URL", f"sqlite:///{VAR_DIR / 'portal.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # Immediate: two writers queue up instead of one failing half-way with "database is locked".
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
    }
else:
    _own: dict[str, object] = DATABASES["default"].get("OPTIONS") or {}  # type: ignore[assignment]
    DATABASES["default"]["CONN_MAX_AGE"] = 600
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # A host that is cut off from the database notices within half a minute, not after the system's quarter of an hour.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
        **_own,
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.redis("REDIS_URL", "redis://127.0.0.1:6379/0")
REDIS_TIMEOUTS = {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": REDIS_TIMEOUTS,
    }
}
# django-rq takes timeouts from the address alone.
_QUEUE = {"URL": with_timeouts(REDIS_URL), "DEFAULT_TIMEOUT": 3600, "DEFAULT_RESULT_TTL": 0}
RQ_QUEUES = {"default": _QUEUE, "identity": dict(_QUEUE)}
RQ = {"WORKER_CLASS": "onboarding.engine.worker.PortalWorker"}

# --- secrets at rest
FIELD_KEYS = env.fernet_keys("FIELD_KEYS")

# --- Amazon: every address is a setting, so that the same code talks to Amazon or to the simulator
LOGIN_CLIENT_ID = env.text("LOGIN_CLIENT_ID")
LOGIN_CLIENT_SECRET = env.text("LOGIN_CLIENT_SECRET")
LOGIN_AUTHORIZE_URL = env.url("LOGIN_AUTHORIZE_URL", "https://www.amazon.com/ap/oa")
LOGIN_TOKEN_URL = env.url("LOGIN_TOKEN_URL", "https://api.amazon.com/auth/o2/token")
LOGIN_PROFILE_URL = env.url("LOGIN_PROFILE_URL", "https://api.amazon.com/user/profile")
AMC_URL = env.url("AMC_URL", "https://advertising-api.amazon.com")
AWS_ENDPOINT_URL = env.url("AWS_ENDPOINT_URL", "")
AWS_REGION = "us-east-1"  # The guide: "For the current deployment, only the us-east-1 region is supported."
# Who the portal is at AWS: customers' roles trust this ARN, and nobody else.
PORTAL_AWS_PRINCIPAL = env.text("PORTAL_AWS_PRINCIPAL", "")
if PORTAL_AWS_PRINCIPAL and not re.fullmatch(
    r"arn:aws:iam::\d{12}:(root|(role|user)/[\w+=,.@/-]+)", PORTAL_AWS_PRINCIPAL
):
    env.problems.append("PORTAL_AWS_PRINCIPAL must be the ARN of a role, a user or an account: arn:aws:iam::…")
FIRST_ADMINS = [address.lower() for address in env.listing("FIRST_ADMINS")]

# --- the engine: seconds
CALL_TIMEOUT = env.number("CALL_TIMEOUT", 10, least=0.1)
LEASE_SECONDS = env.number("LEASE_SECONDS", 20, least=0.5)
# A row that nobody has taken this long after it was put on the queue is put there again: the queue was emptied.
PUT_AGAIN_SECONDS = env.number("PUT_AGAIN_SECONDS", 10, least=0.1)
CLOCK_SECONDS = env.number("CLOCK_SECONDS", 1, least=0.05)
POLL_SCALE = env.number("POLL_SCALE", 1, least=0)
RETRY_SCALE = env.number("RETRY_SCALE", 1, least=0)
# The nightly comparison: when it begins, in hours after midnight UTC, and over how many hours it is spread.
NIGHT_BEGINS = env.number("NIGHT_BEGINS", 1)
NIGHT_HOURS = env.number("NIGHT_HOURS", 4, least=0.1)
if NIGHT_BEGINS >= 24 or NIGHT_HOURS > 24:
    env.problems.append("NIGHT_BEGINS must be less than 24, and NIGHT_HOURS 24 at most")
# Identity files: memory for one piece of work.
IDENTITY_MEMORY_MB = int(env.number("IDENTITY_MEMORY_MB", 512, least=64))
# Files larger than this together are prepared by Athena in the customer's own account.
IDENTITY_WORKER_LIMIT_GB = env.number("IDENTITY_WORKER_LIMIT_GB", 100, least=0)
if LEASE_SECONDS <= CALL_TIMEOUT:
    env.problems.append("LEASE_SECONDS must be more than CALL_TIMEOUT, or two workers could make the same call")

# --- how long things are kept, in days; 0 keeps them for ever
UPLOAD_DAYS = int(env.number("UPLOAD_DAYS", 7, least=1))
RETAIN_DRAFTS_DAYS = int(env.number("RETAIN_DRAFTS_DAYS", 90))
RETAIN_LOGS_DAYS = int(env.number("RETAIN_LOGS_DAYS", 400))
RETAIN_MESSAGES_DAYS = int(env.number("RETAIN_MESSAGES_DAYS", 180))
RETAIN_JOBS_DAYS = int(env.number("RETAIN_JOBS_DAYS", 90))

# --- the API: requests a minute
API_TOKEN_LIMIT = int(env.number("API_TOKEN_LIMIT", 600, least=1))
API_ADDRESS_LIMIT = int(env.number("API_ADDRESS_LIMIT", 1200, least=1))

# --- what monitoring reads
METRICS_TOKEN = env.text("METRICS_TOKEN", "")
if METRICS_TOKEN and len(METRICS_TOKEN) < 20:
    env.problems.append("METRICS_TOKEN must have at least 20 characters")

SENTRY_DSN = env.text("SENTRY_DSN", "")
SENTRY_ENVIRONMENT = env.text("SENTRY_ENVIRONMENT", "production")
OTEL_EXPORTER_OTLP_ENDPOINT = env.url("OTEL_EXPORTER_OTLP_ENDPOINT", "")
OTEL_SERVICE_NAME = env.text("OTEL_SERVICE_NAME", "amc-onboarding-portal")

# --- the audit log, elsewhere too
AUDIT_SHIP = env.shipping("AUDIT_SHIP")

# --- mail
vars().update(env.mail("EMAIL_URL", "consolemail://"))
DEFAULT_FROM_EMAIL = env.text("FROM_EMAIL", "AMC onboarding portal <portal@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- where messages go besides
WEBHOOK_HOSTS = [host.lower() for host in env.listing("WEBHOOK_HOSTS")]
WEBHOOK_PRIVATE = env.flag("WEBHOOK_PRIVATE")
DIGEST_HOUR = int(env.number("DIGEST_HOUR", 7, least=0))
if DIGEST_HOUR > 23:
    env.problems.append("DIGEST_HOUR must be an hour of the day, 0 to 23")

# --- Django
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "csp",
    "django_htmx",
    "onboarding",  # before django_rq, whose rqworker it replaces
    "django_rq",
    "social_django",
]
MIDDLEWARE = [
    "portal.logs.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "onboarding.api.gate.NoCookies",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.signin.errors.SignInErrorMiddleware",
]
ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "onboarding.views.shell.shell",
            ],
        },
    }
]
FORM_RENDERER = "portal.forms.PortalFormRenderer"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(BASE_DIR / "staticfiles")))
# Files of others are put into build/static by `make assets`; they are never committed.
STATICFILES_DIRS = [BASE_DIR / "static", BASE_DIR / "build" / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- people and sign-in
AUTH_USER_MODEL = "onboarding.Person"
AUTHENTICATION_BACKENDS = ["portal.signin.amazon.LoginWithAmazon"]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"
SESSION_COOKIE_AGE = int(env.number("SESSION_HOURS", 12, least=0.1) * 3600)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PORTAL_URL.startswith("https://")
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "portal.errors.csrf_failure"
SOCIAL_AUTH_URL_NAMESPACE = "social"
SOCIAL_AUTH_AMAZON_KEY = LOGIN_CLIENT_ID
SOCIAL_AUTH_AMAZON_SECRET = LOGIN_CLIENT_SECRET
SOCIAL_AUTH_AMAZON_SCOPE = ["profile"]
SOCIAL_AUTH_AMAZON_AUTHORIZATION_URL = LOGIN_AUTHORIZE_URL
SOCIAL_AUTH_AMAZON_ACCESS_TOKEN_URL = LOGIN_TOKEN_URL
SOCIAL_AUTH_REDIRECT_IS_HTTPS = PORTAL_URL.startswith("https://")
SOCIAL_AUTH_SANITIZE_REDIRECTS = True
SOCIAL_AUTH_LOGIN_ERROR_URL = "/sign-in"
SOCIAL_AUTH_PIPELINE = (
    "social_core.pipeline.social_auth.social_details",
    "social_core.pipeline.social_auth.social_uid",
    "social_core.pipeline.social_auth.auth_allowed",
    "social_core.pipeline.social_auth.social_user",
    "portal.signin.pipeline.person",
    "social_core.pipeline.social_auth.associate_user",
    "portal.signin.pipeline.first_admin",
)

# --- security headers
SECURE_SSL_REDIRECT = PORTAL_URL.startswith("https://")
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 31536000 if PORTAL_URL.startswith("https://") else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
if env.flag("BEHIND_PROXY"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # the CSS kit draws its small icons as data: images
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF, LOGIN_AUTHORIZE_URL],  # signing in posts here and is sent on to Amazon
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}

# --- logs
LOG_JSON = env.flag("LOG_JSON", not DEBUG)
LOGGING = logging_config(json=LOG_JSON, level=env.text("LOG_LEVEL", "INFO"))
LOGGING_CONFIG = "logging.config.dictConfig"
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)

env.finish()
