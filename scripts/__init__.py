"""Installs, starts and packages the portal; run through `make`."""
