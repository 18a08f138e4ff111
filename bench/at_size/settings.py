"""As in production, with harmless secrets; what the tests change for their own sake is changed back."""

from tests.settings import *  # noqa: F403

CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}  # noqa: F405
LOGGING_CONFIG = None
