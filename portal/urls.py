"""Addresses: the portal's own, signing in with Amazon, and health."""

from django.urls import include, path

from portal import health, metrics
from portal.signin import views

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("sign-in", views.sign_in, name="sign-in"),
    path("sign-out", views.sign_out, name="sign-out"),
    path("sign-in/", include("portal.signin.urls", namespace="social")),
    path("api/v1/", include("onboarding.api.urls")),
    path("", include("onboarding.urls")),
]

handler400 = "portal.errors.bad_request"
handler403 = "portal.errors.forbidden"
handler404 = "portal.errors.not_found"
handler500 = "portal.errors.server_error"
