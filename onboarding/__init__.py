"""The portal's one domain: onboarding onto Amazon Marketing Cloud collaboration instances."""
