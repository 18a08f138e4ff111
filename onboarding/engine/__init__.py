"""Runs the steps: states, leases, retries, the clock."""
