from django.apps import AppConfig

from portal import observe


class OnboardingConfig(AppConfig):
    """The domain app."""

    name = "onboarding"
    verbose_name = "AMC onboarding"

    def ready(self) -> None:
        """Once a process has loaded everything: send errors and traces to where the settings say."""
        observe.begin()
