"""The Django project: settings, addresses, sign-in, health and security headers."""
