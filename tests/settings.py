"""The portal's settings as the tests run it: every variable that has no default gets a harmless value first."""

import functools
import os
import sys
import tempfile

import redis.utils

# What Python compiled is kept, also by the processes that tests start: they would spend seconds each on it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Each connection to Redis says the version of its client, which is looked up among all packages' files every time.
redis.utils.get_lib_version = functools.cache(redis.utils.get_lib_version)

_VALUES = {
    "SECRET_KEY": "only-for-tests-" * 4,
    "FIELD_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "PORTAL_URL": "http://testserver",
    "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
    "LOGIN_CLIENT_ID": "amzn1.application-oa2-client.demo",
    "LOGIN_CLIENT_SECRET": "only-for-tests",
    # Nothing listens there: a test that forgets its simulator fails at once.
    "AMC_URL": "http://127.0.0.1:9",
    "LOGIN_TOKEN_URL": "http://127.0.0.1:9/auth/o2/token",
    "LOGIN_PROFILE_URL": "http://127.0.0.1:9/user/profile",
    "LOGIN_AUTHORIZE_URL": "http://127.0.0.1:9/ap/oa",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "EMAIL_URL": "memorymail://",
    "VAR_DIR": tempfile.gettempdir(),
    "LOG_JSON": "true",
}
# Playwright keeps an event loop in the thread of the tests; Django would refuse to ask the database beside it.
_VALUES["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
for _name, _value in _VALUES.items():
    os.environ.setdefault(_name, _value)

from portal.settings import *  # noqa: E402, F403

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
# Pages are tested without building the static files first.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Nothing lies there; whitenoise complains for every client of a test when the folder is missing.
STATIC_ROOT = VAR_DIR / "amc-portal-tests-static"  # noqa: F405
STATIC_ROOT.mkdir(exist_ok=True)
