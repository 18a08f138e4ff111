"""Signing in with Amazon."""
