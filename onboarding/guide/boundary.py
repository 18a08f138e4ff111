"""The permissions boundary that the portal's template makes: what roles made by the portal may do at most."""

from __future__ import annotations

BOUNDARY_NAME = "amc-onboarding-portal-boundary"


def boundary_arn(account: str) -> str:
    """Its ARN in an AWS account; a `CreateRole` that names it as PermissionsBoundary makes a role under it."""
    return f"arn:aws:iam::{account}:policy/{BOUNDARY_NAME}"
