"""The AWS half of the simulated Amazon: one WSGI application for every AWS service the onboarding touches."""
