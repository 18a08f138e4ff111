"""The two addresses of social-auth that are used: where a sign-in begins, and where Amazon sends people back to."""

from django.urls import path
from django.views.decorators.http import require_GET
from social_django import views

from portal.signin.limits import limited

app_name = "social"
urlpatterns = [
    path("<str:backend>/begin", limited(views.auth), name="begin"),
    path("<str:backend>/complete", require_GET(limited(views.complete)), name="complete"),
]
